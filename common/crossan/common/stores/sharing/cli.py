"""``crossan cache push|pull``: a store between a folder and wherever teammates find it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crossan.cache_schema.errors import UsageError
from crossan.common.console import AsJson, Panel, note, print_json
from crossan.common.stores.options import CacheFolder, StoreFolder

__all__ = ["pull", "push"]

_STORE_DEPTH = 3


def push(
    store: StoreFolder,
    remote: Annotated[
        str,
        typer.Argument(
            metavar="REMOTE",
            help="Folder or s3://BUCKET/PATH; with a slash at its end a cache, in which the store"
            " keeps its place.",
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
    as_json: AsJson = False,
) -> None:
    """Send what REMOTE lacks of a store's newest version: segments first, the manifest last.

    A push that was cut off goes on with the same command.

    Examples
    --------
    crossan cache push demo/cache/sample/text/* /shared/caches/
    """
    from crossan.common.stores.folders import read_identity
    from crossan.common.stores.sharing.locations import FolderLocation, location_of
    from crossan.common.stores.sharing.transfer import transfer

    read_identity(store)
    address = (
        remote
        if not remote.endswith("/")
        else remote + "/".join(store.absolute().parts[-_STORE_DEPTH:])
    )
    target = location_of(address)
    if "://" in address and not i_have_rights:
        _require_rights(store, address)
    done = transfer(FolderLocation(store), target)
    if as_json:
        print_json(
            {
                "remote": address,
                "version": done.version,
                "segments": done.segments,
                "files": done.file_count,
                "bytes": done.byte_count,
            }
        )
    else:
        print(
            f"{address}: version {done.version}, {done.segments} segments sent ({done.byte_count:,} bytes)"
        )


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
    as_json: AsJson = False,
) -> None:
    """Bring what a folder lacks of a store elsewhere.

    Every file is checked against its SHA-256 on arrival. A pull that was cut
    off goes on with the same command. What the store here holds and REMOTE
    does not is kept, and wins where both know an item.

    Examples
    --------
    crossan cache pull s3://team/caches/sample/text/bert-1 --cache cache
    """
    from crossan.common.stores.sharing.locations import FolderLocation, location_of
    from crossan.common.stores.sharing.transfer import transfer

    address, version = _split_version(remote)
    folder = to if to is not None else _folder_in(cache, address)
    done = transfer(
        location_of(address), FolderLocation(folder), version=version, is_source_first=True
    )
    if as_json:
        print_json(
            {
                "store": str(folder),
                "version": done.version,
                "segments": done.segments,
                "files": done.file_count,
                "bytes": done.byte_count,
            }
        )
    else:
        print(
            f"{folder}: version {done.version}, {done.segments} segments arrived ({done.byte_count:,} bytes)"
        )
        note(f"check it with: crossan cache verify {folder}")


def _split_version(remote: str) -> tuple[str, int | None]:
    address, at, version = remote.rpartition("@")
    if not at or "/" in version:
        return remote.rstrip("/"), None
    if not version.isascii() or not version.isdigit() or int(version) < 1:
        raise UsageError(f"{remote}: expected a version number after @, found {version!r}")
    return address.rstrip("/"), int(version)


def _folder_in(cache: Path | None, address: str) -> Path:
    from crossan.cache_schema.modality import Modality
    from crossan.common.stores.folders import require_cache

    cache = require_cache(cache, "Give --cache FOLDER, set CROSSAN_CACHE, or name a folder: --to F")
    path = address.split("://", 1)[-1]
    parts = [
        part
        for part in (Path(path).absolute().parts if "://" not in address else path.split("/"))
        if part
    ]
    tail = parts[-_STORE_DEPTH:]
    if (
        len(tail) < _STORE_DEPTH
        or tail[1] not in set(Modality)
        or any(part in {"..", "."} for part in tail)
    ):
        raise UsageError(
            f"{address}: expected an address that ends in DATASET/MODALITY/NAME, found {'/'.join(tail)}",
            remedy="Name the folder the store goes to: --to FOLDER",
        )
    return cache.joinpath(*tail)


def _require_rights(store: Path, address: str) -> None:
    from crossan.common.stores.describing.licences import restrictions

    reasons = restrictions(store)
    if reasons:
        raise UsageError(
            f"{address} may be public, and {store} may not be passed on freely:\n  "
            + "\n  ".join(reasons),
            remedy="If you may pass it on, say so: --i-have-rights",
        )
