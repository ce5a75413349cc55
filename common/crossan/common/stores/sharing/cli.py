"""``crossan cache push|pull``: a store between a folder and wherever teammates find it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crossan.cache_schema.errors import UsageError
from crossan.common.console import AsJson, Panel, note, print_json, print_text
from crossan.common.stores.options import AllowOtherContents, CacheFolder, StoreFolder

if TYPE_CHECKING:
    from crossan.common.stores.sharing.mover import Transferred

__all__ = ["pull", "push"]

Verify = Annotated[
    bool | None,
    typer.Option(
        "--verify/--no-verify",
        help="Read every object that a bucket has already (default: sizes and MD5); or believe"
        " what is there.",
        show_default=False,
        rich_help_panel=Panel.WHAT,
    ),
]


def push(
    store: StoreFolder,
    remote: Annotated[
        str,
        typer.Argument(
            metavar="REMOTE",
            help="Store at a folder or s3://BUCKET/PATH, also a new one; with a slash at its end"
            " a cache, in which the store keeps its place.",
        ),
    ],
    i_have_rights: Annotated[
        bool,
        typer.Option(
            "--i-have-rights",
            help="Push although a licence of data or model restricts redistribution.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = False,
    allow_other_contents: AllowOtherContents = False,
    verify: Verify = None,
    as_json: AsJson = False,
) -> None:
    """Send what REMOTE lacks of a store's newest version: segments first, the manifest last.

    What is there already is checked, and sent again where it is damaged. A push that was
    cut off goes on with the same command.

    Examples
    --------
    crossan cache push demo/cache/sample/text/* /shared/caches/
    """
    from crossan.common.stores.folders import read_identity
    from crossan.common.stores.sharing.addresses import require_store_target, store_in_cache
    from crossan.common.stores.sharing.locations import FolderLocation, location_of
    from crossan.common.stores.sharing.transfer import transfer

    read_identity(store)
    address = store_in_cache(remote, store) if remote.endswith("/") else remote
    require_store_target(address, source=None if remote.endswith("/") else str(store))
    if "://" in address and not i_have_rights:
        _require_rights(store, address)
    done = transfer(
        FolderLocation(store),
        location_of(address, is_read_back=verify is True),
        are_other_contents_allowed=allow_other_contents,
        are_files_checked=verify is not False,
    )
    if as_json:
        print_json(
            {
                "remote": address,
                "version": done.version,
                "segments": done.segments,
                "files": done.file_count,
                "bytes": done.byte_count,
                "mended": list(done.mended),
            }
        )
    else:
        print_text(f"{address}: {_travelled(done, 'sent')}")


def pull(
    remote: Annotated[
        str,
        typer.Argument(
            metavar="REMOTE[@VERSION]",
            help="Store in a folder, at s3://BUCKET/PATH or https://HOST/PATH.",
        ),
    ],
    cache: CacheFolder = None,
    to: Annotated[
        Path | None,
        typer.Option(
            "--to",
            metavar="FOLDER",
            help="Folder of the store itself, instead of --cache.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = None,
    allow_other_contents: AllowOtherContents = False,
    verify: Verify = None,
    as_json: AsJson = False,
) -> None:
    """Bring what a folder lacks of a store elsewhere, and what is damaged in it.

    Every file is checked against its SHA-256 on arrival, and those that are here
    already are read. A pull that was cut off goes on with the same command. What the
    store here holds and REMOTE does not is kept; of an item that both have changed
    the row that was written later counts.

    Examples
    --------
    crossan cache pull s3://team/caches/sample/text/bert-1 --cache cache
    """
    from crossan.common.stores.sharing.addresses import require_store_source, require_store_target
    from crossan.common.stores.sharing.locations import FolderLocation, location_of
    from crossan.common.stores.sharing.transfer import transfer

    address, version = _split_version(remote)
    require_store_source(address)
    folder = to if to is not None else _folder_in(cache, address)
    require_store_target(str(folder), source=None if to is None else address, may_be_empty=True)
    done = transfer(
        location_of(address),
        FolderLocation(folder),
        version=version,
        is_source_first=True,
        are_other_contents_allowed=allow_other_contents,
        are_files_checked=verify is not False,
    )
    if as_json:
        print_json(
            {
                "store": str(folder),
                "version": done.version,
                "segments": done.segments,
                "files": done.file_count,
                "bytes": done.byte_count,
                "mended": list(done.mended),
            }
        )
    else:
        print_text(f"{folder}: {_travelled(done, 'arrived')}")
        note(f"check it with: crossan cache verify {folder}")


def _split_version(remote: str) -> tuple[str, int | None]:
    address, at, version = remote.rpartition("@")
    if not at or "/" in version:
        return remote.rstrip("/"), None
    if not version.isascii() or not version.isdigit() or int(version) < 1:
        raise UsageError(f"{remote}: expected a version number after @, found {version!r}")
    return address.rstrip("/"), int(version)


def _folder_in(cache: Path | None, address: str) -> Path:
    from crossan.common.stores.folders import require_cache
    from crossan.common.stores.sharing.addresses import place_in_cache

    cache = require_cache(cache, "Give --cache FOLDER, set CROSSAN_CACHE, or name a folder: --to F")
    return cache.joinpath(*place_in_cache(address))


def _travelled(done: Transferred, verb: str) -> str:
    mended = f", {len(done.mended):,} damaged files replaced" if done.mended else ""
    return (
        f"version {done.version}, {done.segments} segments {verb} "
        f"({done.byte_count:,} bytes){mended}"
    )


def _require_rights(store: Path, address: str) -> None:
    from crossan.common.stores.describing.licences import restrictions

    reasons = restrictions(store)
    if reasons:
        raise UsageError(
            f"{address} may be public, and {store} may not be passed on freely:\n  "
            + "\n  ".join(reasons),
            remedy="If you may pass it on, say so: --i-have-rights",
        )
