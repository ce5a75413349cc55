"""Pins, the notes in a store that say who needs which of its versions.

Runs leave them, so that no garbage collection takes a version from a run.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossan.cache_schema.canonical import field_of, parse_object, pretty_bytes, sha256_hex
from crossan.cache_schema.errors import StoreIntegrityError
from crossan.common.console import note
from crossan.common.files import read_regular, replace_durably
from crossan.common.refusals import make_folder

__all__ = ["LOCK_FILE", "Pin", "pin_version", "pinned_versions"]

LOCK_FILE = "cache.lock.json"
"""The file in which a run's folder names its stores and their versions."""


@dataclass(frozen=True, slots=True)
class Pin:
    """A version that somebody needs, with the file that says so as its holder."""

    version: int
    holder: str


def pin_version(store: Path, version: int, holder: Path) -> None:
    """Note in a store that ``holder`` needs one of its versions.

    The note replaces an earlier one of the same holder. A store that cannot be written
    takes none, which is said.

    Parameters
    ----------
    store
        Folder of the store.
    version
        The version.
    holder
        File whose existence keeps the pin: a run's ``cache.lock.json``, a registered model's card.
    """
    holder = holder.absolute()
    folder = store / "pins"
    # The host is a part: two hosts may each have a run under the same path.
    name = sha256_hex(f"{os.uname().nodename}\n{holder}".encode())[:16]
    try:
        make_folder(folder)
        replace_durably(
            folder / f"{name}.json",
            pretty_bytes({"holder": str(holder), "host": os.uname().nodename, "version": version}),
        )
    except OSError as refusal:
        if refusal.errno not in {errno.EACCES, errno.EPERM, errno.EROFS}:
            raise
        note(
            f"{store}: cannot be written, so it takes no note that version {version} is in use;"
            f" name it to a garbage collection there: crossan cache gc --runs {holder.parent}"
        )


def pinned_versions(store: Path, runs: Iterable[Path] = ()) -> list[Pin]:
    """Return the versions that are pinned, by notes in the store and by runs in the given folders.

    A note of this host is void once its file is missing. What another host holds
    cannot be seen from here, so its notes hold until they are removed.

    Raises
    ------
    StoreIntegrityError
        A note or a run's file is not as we write it.
    """
    pins = []
    for path in sorted((store / "pins").glob("*.json")):
        pin, host = _noted(store, path)
        if host != os.uname().nodename or _exists(pin.holder, path):
            pins.append(pin)
    for folder in runs:
        for path in sorted(folder.rglob(LOCK_FILE)):
            pins += [Pin(version, str(path)) for version in _locked(path, store)]
    return pins


def _noted(store: Path, path: Path) -> tuple[Pin, str]:
    """Return what one note says, and the host that left it."""
    where = str(path)
    value = parse_object(read_regular(store, f"pins/{path.name}"), where)
    pin = Pin(_version_of(value, where), field_of(value, "holder", str, where))
    return pin, field_of(value, "host", str, where)


def _exists(holder: str, note: Path) -> bool:
    problem = StoreIntegrityError(
        f"{note}: expected 'holder' to hold the path of a file, found {holder!r:.80}"
    )
    if "\0" in holder:
        raise problem
    try:
        return Path(holder).exists()
    except OSError as error:  # longer than any path
        raise problem from error


def _locked(path: Path, store: Path) -> list[int]:
    """Return the versions of a store that a run's file names."""
    real, where = path.resolve(), str(path)
    try:
        stores = field_of(
            parse_object(read_regular(real.parent, real.name), where), "stores", dict, where
        )
        entries = [field_of(stores, name, dict, where) for name in stores]
        named = [
            (Path(field_of(entry, "store", str, where)), _version_of(entry, where))
            for entry in entries
        ]
    except StoreIntegrityError as error:
        raise StoreIntegrityError(
            f"{path}: expected stores with their versions: "
            f"{error.message.removeprefix(f'{path}: ')}"
        ) from error
    return [
        version
        for folder, version in named
        # By name too: the run may have seen the store under another mount point. A store's
        # name ends in its fingerprint, so another store hardly ever has it.
        if folder.absolute() == store.absolute() or folder.name == store.name
    ]


def _version_of(value: dict[str, Any], where: str) -> int:
    version = field_of(value, "version", int, where)
    if version < 1:
        raise StoreIntegrityError(f"{where}: expected a version from 1 on, found {version}")
    return version
