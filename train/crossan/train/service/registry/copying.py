"""Copies of run folders that never change, and the check that they have not."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from crossan.cache_schema.errors import StoreIntegrityError
from crossan.common.files import fsync_folder
from crossan.common.refusals import blaming

__all__ = ["copy_run", "make_read_only", "remove_folder", "require_unchanged"]

_BLOCK = 1 << 20
_FILE_MODE, _FOLDER_MODE = 0o444, 0o555
_LEFT_OUT = frozenset({"logs", "report.html", "refit"})
"""What opening a run does not need, beside names that begin with a dot.

A refit is another run, which has a copy of its own."""
_BEST = ("best", "best-next")
"""The checkpoint of the best epoch, and its name between two renames."""


def copy_run(source: Path, target: Path) -> dict[str, str]:
    """Copy what opening a run needs, and return the SHA-256 of each file.

    Of its checkpoints only the best epoch's is copied, which is the one that a run is opened with.

    Parameters
    ----------
    source
        The run folder.
    target
        A folder that is not there yet.

    Returns
    -------
    dict[str, str]
        By path below ``target``, parts joined by slashes.

    Raises
    ------
    StoreIntegrityError
        Something in it is neither a file nor a folder, such as a symbolic link.
    ResourceError
        The system refuses, or the disk is full.
    """
    digests = {}
    for relative, path in _files(source):
        copy = target / relative
        with blaming(copy):
            copy.parent.mkdir(parents=True, exist_ok=True)
            digests[str(relative)] = _copied(path, copy)
    for folder in sorted({target, *(target / name for name in map(_parent, digests))}):
        fsync_folder(folder)
    return digests


def make_read_only(folder: Path) -> None:
    """Take the right to write from a folder and everything in it."""
    with blaming(folder):
        for above, folders, files in os.walk(folder, topdown=False):
            for name in files:
                (Path(above) / name).chmod(_FILE_MODE)
            for name in folders:
                (Path(above) / name).chmod(_FOLDER_MODE)
        folder.chmod(_FOLDER_MODE)


def remove_folder(folder: Path) -> None:
    """Remove a folder of ours, also one that nobody may write in."""
    for above, _, _ in os.walk(folder):
        Path(above).chmod(stat.S_IRWXU)
    shutil.rmtree(folder)


def require_unchanged(folder: Path, sha256: Mapping[str, str], remedy: str) -> None:
    """Refuse a folder whose files are not those that were copied, to the byte.

    Parameters
    ----------
    folder
        Of a version.
    sha256
        Of each file, as the version's card has them.
    remedy
        What the user can do.

    Raises
    ------
    StoreIntegrityError
        A file is missing, is another one, or is none of the version's.
    """
    for name, recorded in sha256.items():
        path = folder / name
        try:
            is_same = path.is_file() and not path.is_symlink() and _digest(path) == recorded
        except OSError as error:
            raise StoreIntegrityError(
                f"{path}: cannot be read: {error.strerror}", remedy=remedy
            ) from None
        if not is_same:
            problem = "its bytes are not those that were registered" if path.exists() else "is gone"
            raise StoreIntegrityError(f"{path}: {problem}", remedy=remedy)
    unlisted = sorted({str(name) for name, _ in _walk(folder)} - {*sha256, "card.json"})
    if unlisted:
        raise StoreIntegrityError(
            f"{folder / unlisted[0]}: expected the files that were registered and no others",
            remedy=remedy,
        )


def _parent(name: str) -> PurePosixPath:
    return PurePosixPath(name).parent


def _files(source: Path) -> Iterator[tuple[PurePosixPath, Path]]:
    """Yield what is copied of a run, by its path in the copy."""
    best = next((name for name in _BEST if (source / "checkpoints" / name).is_dir()), None)
    for relative, path in _walk(source):
        first = relative.parts[0]
        if first in _LEFT_OUT or any(part.startswith(".") for part in relative.parts):
            continue
        if first != "checkpoints":
            yield relative, path
        elif relative.parts[1] == best:
            yield PurePosixPath("checkpoints", "best", *relative.parts[2:]), path


def _walk(folder: Path) -> Iterator[tuple[PurePosixPath, Path]]:
    """Yield every file below a folder, and refuse what is no plain file."""
    for above, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(above) / name
            kind = path.lstat().st_mode
            if stat.S_ISREG(kind):
                yield PurePosixPath(path.relative_to(folder)), path
            elif not stat.S_ISDIR(kind):
                raise StoreIntegrityError(
                    f"{path}: expected a plain file or folder, found a symbolic link, a pipe or a"
                    " device",
                    remedy="Train the run again: crossan runs submit",
                )


def _copied(source: Path, copy: Path) -> str:
    """Copy a file, wait until it is on the disk, and return the SHA-256 of what was copied."""
    digest = hashlib.sha256()
    with source.open("rb") as reader, copy.open("xb") as writer:
        while block := reader.read(_BLOCK):
            digest.update(block)
            writer.write(block)
        writer.flush()
        os.fsync(writer.fileno())
    return digest.hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
