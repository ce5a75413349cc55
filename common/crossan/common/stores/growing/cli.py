"""``crossan cache merge|compact|gc``: how a store's segments are arranged."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crossan.common.console import AsJson, Panel, note, print_json, print_text
from crossan.common.stores.options import AllowOtherContents, StoreFolder

__all__ = ["compact_store", "gc", "merge_stores"]


def merge_stores(
    target: Annotated[
        Path, typer.Argument(metavar="TARGET", help="Store to add to; made where there is none.")
    ],
    sources: Annotated[
        list[Path], typer.Argument(metavar="STORE...", help="Stores of the same fingerprint.")
    ],
    allow_other_contents: AllowOtherContents = False,
    as_json: AsJson = False,
) -> None:
    """Make one version of TARGET that lists the segments of all stores.

    Of an item that several have, the row that was written later counts. Files on the
    same file system are linked, not copied.

    Examples
    --------
    crossan cache merge cache/sample/text/bert-1 colleague/sample/text/bert-1
    """
    from crossan.common.stores.folders import read_identity
    from crossan.common.stores.sharing.addresses import require_store_source, require_store_target
    from crossan.common.stores.sharing.locations import FolderLocation
    from crossan.common.stores.sharing.transfer import merge

    require_store_target(str(target), source=str(sources[0]), may_be_empty=True)
    for source in sources:
        require_store_source(str(source))
        read_identity(source)
    done = merge(
        [FolderLocation(source) for source in sources],
        FolderLocation(target, is_linked=True),
        are_other_contents_allowed=allow_other_contents,
    )
    if as_json:
        print_json(
            {
                "store": str(target),
                "version": done.version,
                "segments": done.segments,
                "bytes": done.byte_count,
            }
        )
    else:
        print_text(
            f"{target}: version {done.version}, {done.segments} segments added ({done.byte_count:,} bytes)"
        )


def compact_store(store: StoreFolder, as_json: AsJson = False) -> None:
    """Write all segments of the newest version as one; crossan cache gc then removes the old ones.

    Examples
    --------
    crossan cache compact demo/cache/sample/text/*
    """
    from importlib.metadata import version

    from crossan.common.stores.growing.compact import compact
    from crossan.common.stores.versions import read_version

    made = compact(store, version("crossan"))
    newest = read_version(store) if made is None else made
    if as_json:
        print_json({"store": str(store), "version": newest.version, "compacted": made is not None})
    elif made is None:
        note(
            f"{store}: nothing to compact, version {newest.version} has {len(newest.segments)} segments"
        )
    else:
        print_text(f"{store}: version {made.version}, {len(made.segments)} segments")


def gc(
    store: StoreFolder,
    keep: Annotated[
        int,
        typer.Option(
            "--keep",
            min=1,
            help="How many of the last versions stay whole.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = 3,
    runs: Annotated[
        list[Path] | None,
        typer.Option(
            "--runs",
            metavar="FOLDER",
            help="Folder of runs whose cache.lock.json is honoured; repeatable.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Say what would go; change nothing.", rich_help_panel=Panel.WHAT
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Remove the segments that no kept version lists.

    Kept are the last versions and those that runs have noted in the store or in --runs.

    Examples
    --------
    crossan cache gc demo/cache/sample/text/* --keep 1 --dry-run
    """
    from crossan.common.stores.growing.collect import collect

    done = collect(store, keep=keep, runs=runs or [], is_dry=dry_run)
    if as_json:
        print_json(
            {
                "store": str(store),
                "dry_run": dry_run,
                "segments": list(done.segments),
                "bytes": done.byte_count,
                "kept_versions": list(done.kept_versions),
                "pins": [{"version": pin.version, "holder": pin.holder} for pin in done.pins],
            }
        )
        return
    for pin in done.pins:
        note(f"version {pin.version} is kept for {pin.holder}")
    verb = "would remove" if dry_run else "removed"
    kept = ", ".join(map(str, done.kept_versions))
    print_text(
        f"{store}: {verb} {len(done.segments)} segments, {done.byte_count:,} bytes; versions kept whole: {kept}"
    )
