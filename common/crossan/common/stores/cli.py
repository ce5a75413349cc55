"""``crossan cache``: look at stores and check them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crossan.common.console import app_settings, note, print_json
from crossan.common.stores.describing.cli import card, diff, info
from crossan.common.stores.growing.cli import compact_store, gc, merge_stores
from crossan.common.stores.interchange.cli import export_features, import_features
from crossan.common.stores.sharing.cli import pull, push

if TYPE_CHECKING:
    from crossan.common.stores.integrity import Report

__all__ = ["app"]

app = typer.Typer(
    help="Look at feature stores, check and share them.",
    **{**app_settings(), "no_args_is_help": True},
)
app.command("info")(info)
app.command("diff")(diff)
app.command("card")(card)
app.command("push")(push)
app.command("pull")(pull)
app.command("merge")(merge_stores)
app.command("compact")(compact_store)
app.command("gc")(gc)
app.command("import")(import_features)
app.command("export")(export_features)

_INTEGRITY_EXIT_CODE = 4
_Cache = Annotated[
    Path | None,
    typer.Option("--cache", envvar="CROSSAN_CACHE", help="Folder of stores.", show_default=False),
]
_Store = Annotated[Path, typer.Argument(metavar="STORE", help="Folder of one store.")]
_Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


@app.command("ls")
def list_stores(
    cache: _Cache = None,
    dataset: Annotated[
        str | None, typer.Option("--dataset", help="Name of a dataset; default: all.")
    ] = None,
    is_json: _Json = False,
) -> None:
    """List the stores in a cache."""
    from crossan.cache_schema.errors import CrossanError, UsageError
    from crossan.common.stores.describing.info import summary
    from crossan.common.stores.folders import find_stores

    if cache is None:
        raise UsageError("no cache named", remedy="Give --cache FOLDER, or set CROSSAN_CACHE.")
    if not cache.is_dir():
        raise UsageError(
            f"no cache at {cache}: expected a folder of stores",
            remedy="Run: crossan-extract --cache C",
        )
    found = []
    for path in find_stores(cache, dataset):
        try:
            found.append(summary(path))
        except CrossanError as error:  # one unreadable store does not hide the others
            found.append({"store": str(path), "error": error.message})
    if is_json:
        print_json({"stores": found})
        return
    for store in found:
        if "error" in store:
            print(f"{store['store']}  cannot be read: {store['error']}")
        else:
            print(
                f"{store['store']}  version {store['version']}, {store['ok']:,} of {store['items']:,} items ok, "
                f"layers {_layer_text(store['layers'])}, dim {store['dim']}, {store['stored_dtype']}"
            )
    if not found:
        note(f"no stores in {cache}")


@app.command("verify")
def verify_store(store: _Store, is_json: _Json = False) -> None:
    """Check sizes and the digests of all metadata, in milliseconds."""
    from crossan.common.stores.integrity import verify

    _show_report(verify(store), store, is_json)


@app.command("fsck")
def fsck_store(store: _Store, is_json: _Json = False) -> None:
    """Check every byte of a store."""
    from crossan.common.stores.integrity import fsck

    _show_report(fsck(store), store, is_json)


@app.command("digest")
def digest(store: _Store, is_json: _Json = False) -> None:
    """Print the logical digest: equal for two stores that hold the same."""
    from crossan.common.stores.digest import logical_digest
    from crossan.common.stores.reader import open_store

    opened = open_store(store)
    found = logical_digest(opened)
    if is_json:
        print_json({"store": str(store), "version": opened.version, "digest": found})
    else:
        print(found)


def _show_report(report: Report, store: Path, is_json: bool) -> None:
    if is_json:
        print_json(report.to_dict())
    else:
        for problem in report.problems:
            print(f"{problem.code}: {problem.where}: {problem.what}\n  {problem.remedy}")
        state = "ok" if report.ok else f"{len(report.problems)} problems"
        print(
            f"{store}: {state}; {report.items:,} items, {report.segments} segments, {report.bytes_read:,} bytes read"
        )
    if not report.ok:
        raise typer.Exit(_INTEGRITY_EXIT_CODE)


def _layer_text(layers: list[int]) -> str:
    return ",".join(map(str, layers))
