"""``crossan recommend``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crossan.cache_schema.errors import UsageError
from crossan.common.console import (
    AsJson,
    Column,
    Device,
    Panel,
    print_fields,
    print_json,
    print_table,
)
from crossan.common.kinds_of_files import what_lies_at
from crossan.common.outputs import require_outside_of_ours, require_replaceable
from crossan.train.options import (
    AllowStale,
    MaxDeviceMemory,
    MaxRam,
    Residence,
    RunArgument,
    RunCache,
    RunDataset,
)

if TYPE_CHECKING:
    from crossan.train.runs.opening import OpenedRun

__all__ = ["recommend"]

_PARQUET = b"PAR1"
"""How a Parquet file begins."""


def recommend(
    run: RunArgument,
    dataset: RunDataset = None,
    cache: RunCache = None,
    user: Annotated[
        str | None,
        typer.Option("--user", help="A user of the dataset.", rich_help_panel=Panel.WHAT),
    ] = None,
    history: Annotated[
        str | None,
        typer.Option(
            "--history",
            metavar="A,B,C",
            help="Item ids, oldest first, instead of --user.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = None,
    is_for_all: Annotated[
        bool,
        typer.Option(
            "--all-users",
            help="Every user of the run, into the file --out.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = False,
    users: Annotated[
        Path | None,
        typer.Option(
            "--users",
            metavar="FILE",
            help="The users that a file names, one on each line, into the file --out.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Parquet file for the lists of many users.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = None,
    may_replace: Annotated[
        bool,
        typer.Option(
            "--replace",
            help="Replace the file --out, if that is a Parquet file.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = False,
    top: Annotated[
        int,
        typer.Option("--top", help="How many items.", min=1, rich_help_panel=Panel.WHAT),
    ] = 10,
    new: Annotated[
        int,
        typer.Option(
            "--new",
            metavar="N",
            help="Have at least so many items in a list that nobody had in training, where there"
            " are so many.",
            min=0,
            rich_help_panel=Panel.WHAT,
        ),
    ] = 0,
    allow_stale: AllowStale = False,
    device: Device = "auto",
    residence: Residence = "auto",
    max_ram: MaxRam = None,
    max_device_memory: MaxDeviceMemory = None,
    as_json: AsJson = False,
) -> None:
    """Print the items a run would show next to a user, or write those of all users.

    Examples
    --------
    crossan recommend runs/first --user u0001 --top 5
    crossan recommend runs/first --all-users --out top.parquet
    crossan recommend runs/first --user u0001 --top 10 --new 2
    """
    given = [user is not None, history is not None, is_for_all, users is not None]
    if sum(given) != 1:
        raise UsageError("recommend: expected one of --user, --history, --all-users and --users")
    if new > top:
        raise UsageError(f"--new {new}: expected at most the {top} items of --top")
    is_for_many = is_for_all or users is not None
    _require_out(out, is_for_many=is_for_many, may_replace=may_replace)

    from crossan.train.features import Placement
    from crossan.train.runs.opening import open_run

    opened = open_run(
        run,
        device=device,
        placement=Placement.parse(residence, max_ram, max_device_memory),
        may_be_stale=allow_stale,
        dataset=dataset,
        cache=cache,
    )
    if out is not None:
        _write_for_many(opened, users, (top, new), out, may_replace=may_replace, as_json=as_json)
    else:
        _print_for_one(opened, user, history or "", (top, new), as_json=as_json)


def _require_out(out: Path | None, *, is_for_many: bool, may_replace: bool) -> None:
    """Refuse a file for the list of one user, many users without one, and what is in its way."""
    if not is_for_many:
        if out is not None or may_replace:
            raise UsageError(
                "recommend: expected --out and --replace with --all-users or --users only",
                remedy="The list of one user is printed; --json prints it for programs",
            )
        return
    if out is None:
        raise UsageError(
            "recommend: expected --out FILE with --all-users and --users, got none",
            remedy="--out top.parquet",
        )
    if out.suffix != ".parquet":
        raise UsageError(
            f"--out {out}: expected a name that ends in .parquet, which is what is written",
            remedy=f"--out {out.with_suffix('.parquet')}",
        )
    # Before anything is loaded: the same is seen to again when the file gets its name.
    shown_as = f"--out {out}"
    require_outside_of_ours(out.parent, shown_as)
    if may_replace:
        require_replaceable(out, lambda begin: begin.startswith(_PARQUET), shown_as)
    elif os.path.lexists(out):
        raise UsageError(
            f"{shown_as}: expected nothing there, found {what_lies_at(out)}",
            remedy="Name another --out, or replace it: --replace",
        )


def _write_for_many(
    opened: OpenedRun,
    users: Path | None,
    length: tuple[int, int],
    out: Path,
    *,
    may_replace: bool,
    as_json: bool,
) -> None:
    from crossan.train.runs.contents import counts_of
    from crossan.train.runs.top_lists import read_users, write_top_lists

    everyone = range(len(opened.kept.user_ids))
    chosen = everyone if users is None else read_users(opened, users)
    top, new = length
    rows = write_top_lists(opened, chosen, top, out, may_replace=may_replace, new=new)
    if as_json:
        contents = counts_of(opened.verdicts)
        print_json({"out": str(out), "users": len(chosen), "rows": rows, "contents": contents})
    else:
        print_fields([("users", f"{len(chosen):,}"), ("rows", f"{rows:,}"), ("file", str(out))])


def _print_for_one(
    opened: OpenedRun,
    user: str | None,
    history: str,
    length: tuple[int, int],
    *,
    as_json: bool,
) -> None:
    from crossan.train.runs.contents import counts_of
    from crossan.train.runs.recommend import history_of_items, history_of_user, recommend_items

    rows = history_of_items(opened, history) if user is None else history_of_user(opened, user)
    items = recommend_items(opened, rows, length[0], user, length[1])
    if as_json:
        print_json({"user": user, "items": items, "contents": counts_of(opened.verdicts)})
        return
    print_table(
        [
            Column("rank", is_number=True),
            Column("score", is_number=True),
            Column("item"),
            Column("title"),
        ],
        [
            [str(rank), f"{item['score']:.4f}", item["item_id"], item["title"] or "(no title)"]
            for rank, item in enumerate(items, 1)
        ],
    )
