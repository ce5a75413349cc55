"""Open a file that may hold a medium; no decoder is needed for that."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from crossan.common.regular import SpecialFileError, open_regular
from crossan.extract.media.faults import MediaError, MediaFault

__all__ = ["not_a_file", "open_bytes"]


@contextmanager
def open_bytes(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file that is not empty.

    Raises
    ------
    FileNotFoundError
        Nothing lies at ``path``.
    MediaError
        A folder, pipe or device, or an empty file.
    """
    try:
        opened = open_regular(path)
    except SpecialFileError as error:
        raise not_a_file(error) from None
    with opened as file:
        if not file.read(1):
            raise MediaError(MediaFault.EMPTY_FILE, "expected media, found 0 bytes")
        file.seek(0)
        yield file


def not_a_file(error: SpecialFileError) -> MediaError:
    """Return the typed fault for a path that names something else than a file."""
    return MediaError(MediaFault.NOT_A_FILE, f"expected a regular file, found {error.kind}")
