"""What lies in the inbox of a dataset, for ``crossan data update`` to read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from crossan.cache_schema import canonical_bytes, sha256_hex
from crossan.cache_schema.errors import ResourceError, UsageError

__all__ = ["Inbox", "log_of", "open_inbox", "row_count", "stamp_of"]

_TABLES = {"interactions": "--interactions", "items": "--items"}
_MEDIA = {"image": "--images", "video": "--video", "audio": "--audio"}
_BLOCK = 2**20


@dataclass(frozen=True, slots=True)
class Inbox:
    """The files and folders of an inbox that an update reads."""

    options: tuple[str, ...]
    """Options of ``crossan data update`` that name them, none where it is empty."""

    signature: str
    """Digest of the names, sizes and times of all files; another one once any has changed."""

    log_stamp: str | None
    """That of the table of interactions, None where there is none."""


def open_inbox(folder: Path) -> Inbox:
    """Return what an inbox holds now.

    Raises
    ------
    UsageError
        Two files could be the same table, or a file is a link that leads out of the inbox.
    ResourceError
        The system refuses to read it.
    """
    try:
        return _opened(folder)
    except OSError as error:
        if isinstance(error, ResourceError):
            raise
        raise ResourceError(
            f"{folder}: the system refuses to read the inbox: {error.strerror}"
        ) from None


def log_of(folder: Path) -> Path | None:
    """Return the table of interactions in an inbox, None where there is none, or are several."""
    try:
        logs = [path for path in folder.iterdir() if _stem(path) == "interactions"]
    except OSError:
        return None
    return logs[0] if len(logs) == 1 and logs[0].is_file() else None


def stamp_of(log: Path) -> str:
    """Return size and time of a file, which are others once it has changed."""
    status = log.stat()
    return f"{status.st_size}-{status.st_mtime_ns}"


@lru_cache(maxsize=64)
def _lines(log: Path, stamp: str) -> int:
    del stamp  # another one once the file has changed
    lines, last = 0, b"\n"
    with log.open("rb") as file:
        while block := file.read(_BLOCK):
            lines += block.count(b"\n")
            last = block[-1:]
    return lines + (last != b"\n")


def row_count(log: Path) -> int | None:
    """Return how many rows a table of text has below its header, None where it is none of text.

    A quoted field may hold a line break, so that this may be a few rows too many.
    """
    if log.suffix.lower() == ".parquet":
        return None
    return max(_lines(log, stamp_of(log)) - 1, 0)


def _stem(path: Path) -> str | None:
    """Return which table a file is, None for a name without an ending."""
    stem, dot, _ = path.name.partition(".")
    return stem if dot else None


def _opened(folder: Path) -> Inbox:
    options: list[str] = []
    files: list[list[object]] = []
    tables: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        stem = _stem(path)
        if path.is_dir() and path.name in _MEDIA:
            media = [entry for file in sorted(path.rglob("*")) for entry in _entry(file, folder)]
            if media:
                options += [_MEDIA[path.name], str(path)]
                files += media
        elif stem in _TABLES and path.is_file():
            if stem in tables:
                raise UsageError(
                    f"{folder}: expected one file {stem}.*, found {tables[stem].name} and"
                    f" {path.name}",
                    remedy="Move one of them elsewhere, or write both into one file",
                )
            tables[stem] = path
            options += [_TABLES[stem], str(path)]
            files += _entry(path, folder)
    signature = sha256_hex(canonical_bytes(files))
    log = tables.get("interactions")
    return Inbox(tuple(options), signature, None if log is None else stamp_of(log))


def _entry(file: Path, folder: Path) -> Iterator[list[object]]:
    """Yield name, size and time of a file, nothing for a folder."""
    if not file.resolve().is_relative_to(folder.resolve()):
        raise UsageError(
            f"{file}: expected a file of the inbox, found a link that leads out of it",
            remedy="Copy the file into the inbox",
        )
    if file.is_file():
        status = file.stat()
        yield [str(file.relative_to(folder)), status.st_size, status.st_mtime_ns]
