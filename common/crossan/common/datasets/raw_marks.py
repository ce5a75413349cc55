"""Quotation marks that are part of the texts of a table, or only seem to be.

One bad row, such as a mark that was not doubled, makes all quotation marks of a
table part of its texts. A table in which they stand as a program writes them that
quotes is refused instead.
"""

from __future__ import annotations

import re

from crossan.cache_schema.errors import DataError
from crossan.cache_schema.item_id import shortened
from crossan.common.datasets.text_rows import RowShape, text_lines

__all__ = ["require_text_marks"]

_BY_RFC_4180 = re.compile(r'"(?:[^"]|"")*"|[^"]*')
_REMEDY = (
    "Write a quotation mark within quotation marks twice (in Spark: option escape), "
    "or write the table as parquet"
)


def require_text_marks(text: bytes, shape: RowShape) -> None:
    """Refuse a table whose marks are part of its texts though they look like quoting.

    So they do where most texts of a column lie between marks, as a title seldom does,
    or where a backslash stands before a mark within them. The first row may be a header
    and does not count.

    Raises
    ------
    DataError
        The message names the first line that is not quoted by RFC 4180.
    """
    filled, marked = [0] * shape.field_count, [0] * shape.field_count
    rows = text_lines(text)
    next(rows, None)
    for number, line in rows:
        for column, field in enumerate(_fields(line, shape)):
            filled[column] += bool(field)
            if _is_between_marks(field):
                marked[column] += 1
                if '\\"' in field[1:-1]:
                    raise _fault(shape, number, line, "found a backslash before one")
    for column, count in enumerate(marked):
        if count > 1 and 2 * count > filled[column]:
            number, line = _first_unquoted(text, shape, column)
            what = f"{count:,} of {filled[column]:,} texts of column {column + 1} lie between marks"
            raise _fault(shape, number, line, f"{what}, found")


def _fields(line: str, shape: RowShape) -> list[str]:
    """Return the fields of a line in which marks mean nothing."""
    return line.split(shape.delimiter, shape.field_count - 1)


def _is_between_marks(field: str) -> bool:
    return len(field) > 1 and field[0] == '"' == field[-1]


def _first_unquoted(text: bytes, shape: RowShape, column: int) -> tuple[int, str]:
    """Return the first line with a field that breaks RFC 4180, or one without marks."""
    bare = (0, "")
    for number, line in text_lines(text):
        fields = _fields(line, shape)
        if not all(map(_BY_RFC_4180.fullmatch, fields)):
            return number, line
        if number > 1 and not bare[0] and not _is_between_marks(fields[column]):
            bare = (number, line)
    return bare


def _fault(shape: RowShape, number: int, line: str, what: str) -> DataError:
    return DataError(
        f"{shape.path}, line {number:,}: expected quotation marks by RFC 4180 or none; "
        f"{what} {shortened(line)}",
        remedy=_REMEDY,
    )
