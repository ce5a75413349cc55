"""Slices of the files that a run writes while it goes on."""

from __future__ import annotations

import codecs
import json
from pathlib import Path
from typing import Any, NamedTuple

__all__ = [
    "CURVE_FILE",
    "LARGEST_SLICE",
    "LOG_FILE",
    "LineSlice",
    "TextSlice",
    "lines_of",
    "text_of",
]

CURVE_FILE = "metrics.jsonl"
"""In the run folder."""
LOG_FILE = "output.log"
"""In the folder of each attempt."""
LARGEST_SLICE = 256 * 1024
"""Bytes that one slice holds at most."""


class TextSlice(NamedTuple):
    """Part of a text."""

    text: str
    next_offset: int
    """Where the next slice begins, in bytes."""


class LineSlice(NamedTuple):
    """Some lines of JSON."""

    lines: list[dict[str, Any]]
    next_offset: int
    """Where the next slice begins, in bytes."""


def text_of(path: Path, offset: int, largest: int = LARGEST_SLICE) -> TextSlice:
    """Return part of a text file, empty where there is none yet.

    Parameters
    ----------
    path
        The file.
    offset
        Where to begin, in bytes; a negative one counts from the file's end.
    largest
        Bytes at most.
    """
    content, begin = _read(path, offset, largest)
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(content)
    # A sign that the slice cuts through comes whole with the next one.
    return TextSlice(text, begin + len(content) - len(decoder.getstate()[0]))


def lines_of(path: Path, offset: int, largest: int = LARGEST_SLICE) -> LineSlice:
    """Return whole lines of a file of JSON objects, none where there is no file yet.

    Numbers that JSON does not have become null, and lines that are no objects are left out.

    Parameters
    ----------
    path
        The file.
    offset
        Where to begin, in bytes.
    largest
        Bytes at most.
    """
    content, begin = _read(path, offset, largest)
    end = content.rfind(b"\n") + 1
    lines = []
    for line in content[:end].splitlines():
        try:
            value = json.loads(line, parse_constant=lambda _: None)
        except ValueError:
            continue
        if isinstance(value, dict):
            lines.append(value)
    # A line longer than a slice would be waited for in vain.
    consumed = end or (len(content) if len(content) == largest else 0)
    return LineSlice(lines, begin + consumed)


def _read(path: Path, offset: int, largest: int) -> tuple[bytes, int]:
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            begin = max(0, size + offset) if offset < 0 else min(offset, size)
            file.seek(begin)
            return file.read(largest), begin
    except FileNotFoundError:
        return b"", max(offset, 0)
