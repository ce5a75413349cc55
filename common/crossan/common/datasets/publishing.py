"""Making new files the content of a dataset folder, all of them at once.

``dataset.json`` decides: the rename that gives it a new content is the moment at
which the folder is the new dataset. The tables lie in a folder beside it by
then, ``.tables-*``, which it names. Afterwards they are moved to their usual
names, and ``dataset.json`` names no folder any more. Whenever that is cut off,
the folder reads as the old dataset or as the new one, and the next write goes on.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from crossan.cache_schema.errors import BusyError
from crossan.common.claim import claim, release
from crossan.common.files import fsync_folder, replace_durably
from crossan.common.refusals import blaming, make_folder

__all__ = ["TABLES_FOLDER", "publish_files"]

TABLES_FOLDER = re.compile(r"\.tables-[0-9a-f]{16}")
"""The name of a folder that holds the tables while they are on their way."""

Write = Callable[[Path], None]
"""Writes a new file at the path that it is given."""


def publish_files(
    out: Path,
    description: Mapping[str, Any],
    files: Mapping[str, Write],
    check: Callable[[], None] = lambda: None,
) -> None:
    """Make ``description`` and the files the dataset in a folder.

    Whatever else lies in the folder stays.

    Parameters
    ----------
    out
        The folder, made where it does not exist.
    description
        What ``dataset.json`` is to hold.
    files
        From the name of each other file to what writes it.
    check
        Called when no other process can write any more; what it raises ends the write.

    Raises
    ------
    BusyError
        Another process writes a dataset there.
    ResourceError
        The disk is full. The old dataset stays.
    """
    make_folder(out)
    with _claimed(out):
        check()
        _remove_remains(out)
        staged = out / f".tables-{secrets.token_hex(8)}"
        staged.mkdir()
        is_named = False
        try:
            for name, write in files.items():
                _write_whole(staged / name, write)
            fsync_folder(staged)
            fsync_folder(out)
            # A write that fails may yet have renamed: what dataset.json names has to stay.
            is_named = True
            _describe(out, {**description, "tables": staged.name})
        finally:
            if not is_named:
                shutil.rmtree(staged, ignore_errors=True)
        for name in files:
            (staged / name).replace(out / name)
        fsync_folder(out)
        _describe(out, description)
        _remove_remains(out)


@contextmanager
def _claimed(out: Path) -> Iterator[None]:
    try:
        claim(out, "writes a dataset")
    except BusyError:
        raise BusyError(
            f"{out}: another process writes this dataset",
            remedy="Run the same command again when it has ended",
        ) from None
    try:
        yield
    finally:
        release(out)


def _write_whole(path: Path, write: Write) -> None:
    with blaming(path):
        write(path)
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _describe(out: Path, description: Mapping[str, Any]) -> None:
    text = json.dumps(description, indent=2, ensure_ascii=False) + "\n"
    replace_durably(out / "dataset.json", text.encode())


def _remove_remains(out: Path) -> None:
    """Remove what writes that were cut off have left, but for what ``dataset.json`` names."""
    named = _named_tables(out)
    for folder in out.glob(".tables-*"):
        if TABLES_FOLDER.fullmatch(folder.name) and folder.name != named:
            shutil.rmtree(folder, ignore_errors=True)
    for temporary in out.glob(".dataset.json.*"):
        temporary.unlink(missing_ok=True)


def _named_tables(out: Path) -> str | None:
    try:
        named = json.loads((out / "dataset.json").read_bytes()).get("tables")
    except (OSError, ValueError, AttributeError):
        return None  # no dataset, or one that nobody can read
    return named if isinstance(named, str) else None
