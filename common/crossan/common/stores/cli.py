"""``crossan cache``: look at stores and check them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crossan.common.console import (
    AsJson,
    Column,
    Panel,
    add_command,
    app_settings,
    note,
    print_json,
    print_table,
    print_text,
)
from crossan.common.stores.describing.cli import card, diff, info
from crossan.common.stores.growing.cli import compact_store, gc, merge_stores
from crossan.common.stores.interchange.cli import export_features, import_features
from crossan.common.stores.options import CacheFolder, StoreFolder
from crossan.common.stores.sharing.cli import pull, push

if TYPE_CHECKING:
    from crossan.common.stores.integrity import Report

__all__ = ["app"]

app = typer.Typer(help="Look at feature stores, check and share them.", **app_settings())
add_command(app, "info")(info)
add_command(app, "diff")(diff)
add_command(app, "card")(card)
add_command(app, "push")(push)
add_command(app, "pull")(pull)
add_command(app, "merge")(merge_stores)
add_command(app, "compact")(compact_store)
add_command(app, "gc")(gc)
add_command(app, "import")(import_features)
add_command(app, "export")(export_features)

_INTEGRITY_EXIT_CODE = 4
_COLUMNS = (
    Column("store"),
    Column("version", is_number=True),
    Column("ok", is_number=True),
    Column("items", is_number=True),
    Column("layers"),
    Column("dim", is_number=True),
    Column("dtype"),
)


@add_command(app, "ls")
def list_stores(
    cache: CacheFolder = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset",
            metavar="NAME",
            help="Name of a dataset; default: all.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the stores in a cache.

    The exit code is that of the first that cannot be read.

    Examples
    --------
    crossan cache ls --cache demo/cache
    """
    from crossan.cache_schema.errors import CrossanError, UsageError
    from crossan.common.stores.describing.info import summary
    from crossan.common.stores.folders import find_stores, require_cache

    cache = require_cache(cache)
    if not cache.is_dir():
        raise UsageError(
            f"no cache at {cache}: expected a folder of stores",
            remedy="Run: crossan-extract --cache C",
        )
    summaries: list[dict[str, Any]] = []
    problems: list[CrossanError] = []
    for path in find_stores(cache, dataset):
        try:
            summaries.append(summary(path))
        except CrossanError as error:  # one unreadable store does not hide the others
            problems.append(error)
            summaries.append({"store": str(path), "error": error.message})
    if as_json:
        print_json({"stores": summaries})
    else:
        _print_summaries(summaries)
        if not summaries:
            note(f"no stores in {cache}")
    if problems:
        raise typer.Exit(problems[0].exit_code)


@add_command(app, "verify")
def verify_store(store: StoreFolder, as_json: AsJson = False) -> None:
    """Check sizes and the digests of all metadata, in milliseconds.

    Examples
    --------
    crossan cache verify demo/cache/sample/text/*
    """
    from crossan.common.stores.integrity import verify

    _print_report(verify(store), store, as_json)


@add_command(app, "fsck")
def fsck_store(store: StoreFolder, as_json: AsJson = False) -> None:
    """Check every byte of a store.

    Examples
    --------
    crossan cache fsck demo/cache/sample/text/*
    """
    from crossan.common.stores.integrity import fsck

    _print_report(fsck(store), store, as_json)


@add_command(app, "digest")
def digest(store: StoreFolder, as_json: AsJson = False) -> None:
    """Print the logical digest: equal for two stores that hold the same.

    Examples
    --------
    crossan cache digest demo/cache/sample/text/*
    """
    from crossan.common.stores.digest import logical_digest
    from crossan.common.stores.reader import open_store

    opened = open_store(store)
    text = logical_digest(opened)
    if as_json:
        print_json({"store": str(store), "version": opened.version, "digest": text})
    else:
        print_text(text)


def _print_summaries(summaries: list[dict[str, Any]]) -> None:
    readable = [store for store in summaries if "error" not in store]
    if readable:
        print_table(_COLUMNS, [_cells(store) for store in readable])
    for store in summaries:
        if "error" in store:
            print_text(f"{store['store']}  cannot be read: {store['error']}")


def _cells(store: dict[str, Any]) -> list[str]:
    return [
        store["store"],
        str(store["version"]),
        f"{store['ok']:,}",
        f"{store['items']:,}",
        ",".join(map(str, store["layers"])),
        str(store["dim"]),
        store["stored_dtype"],
    ]


def _print_report(report: Report, store: Path, as_json: bool) -> None:
    if as_json:
        print_json(report.to_dict())
    else:
        for problem in report.problems:
            print_text(f"{problem.code}: {problem.where}: {problem.what}\n  {problem.remedy}")
        state = "ok" if report.ok else f"{len(report.problems)} problems"
        print_text(
            f"{store}: {state}; {report.items:,} items, {report.segments} segments,"
            f" {report.bytes_read:,} bytes read"
        )
    if not report.ok:
        raise typer.Exit(_INTEGRITY_EXIT_CODE)
