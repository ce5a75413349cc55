"""The lines of a text table, and which of them are rows."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from crossan.cache_schema.errors import DataError
from crossan.cache_schema.item_id import shortened

__all__ = ["RowShape", "all_lines", "split_separator", "text_lines"]

_SEPARATOR_LINE = re.compile(rb'"?sep=([,;|\t])"?\r?\n', re.IGNORECASE)
"""What Excel begins a table with to say what parts its columns."""


@dataclass(frozen=True, slots=True)
class RowShape:
    """What the rows of a text table look like."""

    path: Path
    delimiter: str
    field_count: int
    rest_is_last: bool = False
    """Whether the last field of a line without quoting holds further delimiters, as titles do."""

    def is_line(self, line: str) -> bool:
        """Return whether a line is a row where quotation marks mean nothing."""
        surplus = line.count(self.delimiter) + 1 - self.field_count
        return "\r" not in line and (surplus == 0 or (self.rest_is_last and surplus > 0))

    def fault(self, number: int, line: str) -> DataError:
        """Return the error about a line that is no row."""
        what = "a carriage return within a line" if "\r" in line else shortened(line)
        return DataError(
            f"{self.path}, line {number:,}: expected {self.field_count} fields, found {what}"
        )


def text_lines(text: bytes) -> Iterator[tuple[int, str]]:
    """Yield the number, from 1, and the text of each line that is not empty.

    Only a line feed, with or without a carriage return before it, ends a line:
    characters such as U+2028 stand inside titles.
    """
    for number, line in all_lines(text):
        if line not in {"", "\r"}:
            yield number, line.removesuffix("\r")


def split_separator(text: bytes) -> tuple[bytes, str]:
    """Return a table without the line that names its separator, and the separator.

    Without such a line the header decides: a tab if there is one, or else that of
    comma, semicolon and bar which stands in it most often. The line becomes an empty
    one, so that the numbers of the others stay.
    """
    named = _SEPARATOR_LINE.match(text)
    if named is not None:
        return b"\n" + text[named.end() :], named[1].decode()
    _, header = next(text_lines(text), (1, ""))
    unquoted = re.sub(r'"[^"]*"', "", header)
    return text, "\t" if "\t" in unquoted else max(",;|", key=unquoted.count)


def all_lines(text: bytes) -> Iterator[tuple[int, str]]:
    """Yield the number, from 1, and the text of each line, without its line feed."""
    for number, line in enumerate(io.TextIOWrapper(io.BytesIO(text), "utf-8", newline="\n"), 1):
        yield number, line.removesuffix("\n")
