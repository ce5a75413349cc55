"""Whether the quotation marks of a text table are syntax or part of its titles.

CSV quotes fields by RFC 4180. Yet many tables, TSV above all, are written line by
line without any quoting, and then a title that begins with a quotation mark would
swallow the rows up to the next one. The file decides by how it reads either way,
and one that gives different rows either way is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from crossan.cache_schema.errors import DataError
from crossan.cache_schema.item_id import shortened
from crossan.common.datasets.raw_marks import require_text_marks
from crossan.common.datasets.text_rows import RowShape, all_lines, text_lines

__all__ = [
    "Quotation",
    "Quoting",
    "count_strict_rows",
    "decide_quoting",
    "quoted_rows",
    "split_row",
    "weigh_quoting",
]

Quotation = Literal["syntax", "text"]
_MUST_QUOTE = re.compile(r'[\t"\r\n]')
_MAY_QUOTE = re.compile(r"[,;]|^\s|\s$")
"""For what some programs quote a field of a TSV, as Excel does for a comma."""


@dataclass(frozen=True, slots=True)
class Quoting:
    """How a text table is to be read."""

    is_syntax: bool
    """Whether quotation marks quote fields. Otherwise they are part of what lies between."""
    row_count: int
    """Rows with the header."""

    @property
    def quotation(self) -> Quotation:
        """What the marks are, for the report."""
        return "syntax" if self.is_syntax else "text"


def decide_quoting(text: bytes, shape: RowShape) -> Quoting:
    """Decide what the quotation marks of a table mean.

    They quote where every row then has its fields. But each line is a row, and the
    marks stay in it, where they do not give a table, where a field that is not quoted
    holds a mark, and where a TSV quotes a field needlessly and others of the column
    not at all.

    Raises
    ------
    DataError
        Neither way gives a table, a field spans lines that could be rows themselves, or
        marks that would be part of the texts stand as quoting marks do. The message names
        the line.
    """
    row_count = count_strict_rows(text, shape) if shape.delimiter != "\t" else None
    if row_count is not None:
        return Quoting(is_syntax=True, row_count=row_count)
    return weigh_quoting(text, shape)


def weigh_quoting(text: bytes, shape: RowShape) -> Quoting:
    """Decide as `decide_quoting`, row by row."""
    by_line = _count_lines(text, shape)
    quoted = _count_quoted(text, shape)
    if isinstance(quoted, DataError):
        if isinstance(by_line, DataError):
            raise DataError(f"{quoted.message}\n  without quoting: {by_line.message}")
        require_text_marks(text, shape)
        return Quoting(is_syntax=False, row_count=by_line)
    if isinstance(by_line, int):
        is_raw = quoted.is_loose or (shape.delimiter == "\t" and _quotes_needlessly(text, shape))
        if is_raw:
            require_text_marks(text, shape)
            return Quoting(is_syntax=False, row_count=by_line)
    if quoted.doubtful is not None:
        raise quoted.doubtful
    return Quoting(is_syntax=True, row_count=quoted.row_count)


def count_strict_rows(text: bytes, shape: RowShape) -> int | None:
    """Return the number of rows of a table each line of which is a row by RFC 4180.

    None for any other. Most quoted tables are so, and Arrow says it twenty times as fast
    as a loop does.
    """
    pattern = "^" + re.escape(shape.delimiter).join([_FIELDS[0]] * shape.field_count) + "\r?$"
    pattern = pattern.replace("{delimiter}", shape.delimiter)
    lines = pc.split_pattern(pa.array([text], pa.large_string()), "\n").flatten()
    lines = lines.filter(pc.invert(pc.is_in(lines, pa.array(["", "\r"], lines.type))))
    try:
        is_whole: bool | None = pc.all(pc.match_substring_regex(lines, pattern)).as_py()
    except pa.ArrowInvalid:  # too many columns for one expression
        return None
    return len(lines) if is_whole else None


def split_row(row: str, delimiter: str) -> list[str]:
    """Return the fields of a row in which quotation marks are syntax."""
    return [
        plain or quoted.replace('""', '"')
        for quoted, plain in _field_pattern(delimiter).findall(row)
    ]


def quoted_rows(text: bytes, shape: RowShape) -> Iterator[tuple[int, list[str]]]:
    """Yield each row whose fields may be quoted, as the number of its first line and its lines.

    Raises
    ------
    DataError
        A row with other fields, or a mark that nothing closes.
    """
    is_strict, is_loose = (_row_pattern(shape, pattern) for pattern in _FIELDS)
    lines: list[str] = []
    is_open = False
    first = 0
    for number, line in all_lines(text):
        stripped = line.removesuffix("\r")
        if not lines:
            if not stripped:
                continue
            first = number
            if '"' not in stripped and not is_strict(stripped):
                raise shape.fault(number, stripped)
            if is_loose(stripped):
                yield number, [stripped]
                continue
        is_open ^= line.count('"') % 2 == 1
        # Within quotation marks a carriage return is part of the field.
        lines.append(line if is_open else stripped)
        if not is_open:
            if not is_strict("\n".join(lines)):
                raise shape.fault(first, lines[0])
            yield first, lines
            lines = []
    if lines:
        raise DataError(
            f"{shape.path}, line {first:,}: nothing closes a quotation mark: {shortened(lines[0])}"
        )


@dataclass(frozen=True, slots=True)
class _Quoted:
    """A table in which quotation marks are syntax."""

    row_count: int
    is_loose: bool
    """Whether a field that is not quoted holds a mark, which RFC 4180 forbids."""
    doubtful: DataError | None
    """The first row of several lines each of which could be a row."""


def _count_quoted(text: bytes, shape: RowShape) -> _Quoted | DataError:
    is_strict = _row_pattern(shape, _FIELDS[0])
    row_count = 0
    is_loose = False
    openings: set[bool] = set()  # whether lines that are rows begin with a mark
    doubtful: dict[bool, DataError] = {}  # by whether all of the lines do
    try:
        for number, lines in quoted_rows(text, shape):
            row_count += 1
            if len(lines) == 1:
                openings.add(lines[0][0] == '"')
                is_loose = is_loose or not ('"' not in lines[0] or is_strict(lines[0]))
            elif all(shape.is_line(line.removesuffix("\r")) for line in lines):
                doubtful.setdefault(
                    all(line[:1] == '"' for line in lines),
                    _doubt(shape, number, lines),
                )
    except DataError as fault:
        return fault
    if openings == {True}:
        # Every field of this table is quoted, so that a line which does not begin with a mark
        # goes on from the line before.
        doubtful.pop(False, None)
    return _Quoted(row_count, is_loose, next(iter(doubtful.values()), None))


def _doubt(shape: RowShape, number: int, lines: list[str]) -> DataError:
    return DataError(
        f"{shape.path}, line {number:,}: a quotation mark opens that line "
        f"{number + len(lines) - 1:,} closes, and each of these lines could be a row, "
        f"found {shortened(lines[0])}",
        remedy="Quote every field of the table, or write it as parquet",
    )


def _count_lines(text: bytes, shape: RowShape) -> int | DataError:
    count = 0
    for number, line in text_lines(text):
        if not shape.is_line(line):
            return shape.fault(number, line)
        count += 1
    return count


def _quotes_needlessly(text: bytes, shape: RowShape) -> bool:
    """Return whether a column has fields quoted without need beside some that are not quoted.

    No program that quotes writes so: it quotes all of a column, or every field with
    certain characters. Then the marks belong to the texts, such as titles that are a
    quotation.
    """
    fields = _field_pattern(shape.delimiter)
    bare_reasons: dict[int, set[str]] = {}
    quoted_reasons: dict[int, set[frozenset[str]]] = {}
    rows = quoted_rows(text, shape)
    next(rows, None)  # a header is often bare
    for _, lines in rows:
        for column, (quoted, plain) in enumerate(fields.findall("\n".join(lines))):
            if plain and plain != "NA":
                bare_reasons.setdefault(column, set()).update(_reasons(plain))
            elif quoted and not _MUST_QUOTE.search(quoted):
                quoted_reasons.setdefault(column, set()).add(_reasons(quoted))
    return any(
        reasons <= bare_reasons[column]
        for column in quoted_reasons.keys() & bare_reasons.keys()
        for reasons in quoted_reasons[column]
    )


def _reasons(field: str) -> frozenset[str]:
    return frozenset(reason.strip() for reason in _MAY_QUOTE.findall(field))


_FIELDS = (
    r'(?:"(?:[^"]|"")*"|[^"\r\n{delimiter}]*)',
    r'(?:"(?:[^"]|"")*"|[^"\r\n{delimiter}][^\r\n{delimiter}]*|)',
)
"""A field by RFC 4180, and one that may hold marks though it is not quoted."""


def _row_pattern(shape: RowShape, field: str) -> Callable[[str], object]:
    field = field.replace("{delimiter}", shape.delimiter)
    return re.compile(re.escape(shape.delimiter).join([field] * shape.field_count)).fullmatch


def _field_pattern(delimiter: str) -> re.Pattern[str]:
    """Match one field after another, what is between quotation marks or what is not quoted."""
    return re.compile(rf'(?:^|{re.escape(delimiter)})(?:"((?:[^"]|"")*)"|([^{delimiter}]*))')
