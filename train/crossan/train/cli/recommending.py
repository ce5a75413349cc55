"""``crossan recommend``."""

from __future__ import annotations

from typing import Annotated

import typer

from crossan.cache_schema.errors import UsageError
from crossan.common.console import (
    AsJson,
    Column,
    Device,
    Panel,
    print_json,
    print_table,
)
from crossan.train.options import (
    AllowStale,
    MaxDeviceMemory,
    MaxRam,
    Residence,
    RunArgument,
    RunCache,
    RunDataset,
)

__all__ = ["recommend"]


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
    top: Annotated[
        int,
        typer.Option("--top", help="How many items.", min=1, rich_help_panel=Panel.WHAT),
    ] = 10,
    allow_stale: AllowStale = False,
    device: Device = "auto",
    residence: Residence = "auto",
    max_ram: MaxRam = None,
    max_device_memory: MaxDeviceMemory = None,
    as_json: AsJson = False,
) -> None:
    """Print the items a run would show next to a user, or after a history.

    Examples
    --------
    crossan recommend runs/first --user u0001 --top 5
    """
    if (user is None) == (history is None):
        raise UsageError("recommend: expected one of --user and --history")

    from crossan.train.features import Placement
    from crossan.train.runs.contents import counts_of
    from crossan.train.runs.opening import open_run
    from crossan.train.runs.recommend import history_of_items, history_of_user, recommend_items

    opened = open_run(
        run,
        device=device,
        placement=Placement.parse(residence, max_ram, max_device_memory),
        may_be_stale=allow_stale,
        dataset=dataset,
        cache=cache,
    )
    rows = (
        history_of_user(opened, user)
        if user is not None
        else history_of_items(opened, history or "")
    )
    items = recommend_items(opened, rows, top)
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
