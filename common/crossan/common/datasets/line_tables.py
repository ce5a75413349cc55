"""Reading the line formats of published data sets, titles and sequences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from crossan.cache_schema.errors import DataError
from crossan.cache_schema.item_id import id_fault, shortened
from crossan.common.datasets.headers import (
    is_sequence_header,
    is_title_header,
    is_word_among_numbers,
)
from crossan.common.datasets.quoting import (
    Quotation,
    decide_quoting,
    quoted_rows,
    split_row,
)
from crossan.common.datasets.tables import read_text
from crossan.common.datasets.text_rows import RowShape, text_lines

__all__ = ["Titles", "read_sequences", "read_titles"]


@dataclass(frozen=True, slots=True)
class Titles:
    """The titles of a file."""

    by_item: dict[str, str | None]
    """From item id to title, None for a blank one, in file order."""
    header: str | None
    """The header, which is no item; None where the file has none."""
    quotation: Quotation | None
    """What the quotation marks of the file are; None where it has none."""


def read_titles(path: Path, delimiter: str, *, may_quote: bool = True) -> Titles:
    """Read lines of ``item DELIMITER title``, with or without a header.

    Parameters
    ----------
    path
        The file.
    delimiter
        What parts item and title. Where nothing is quoted, a title may hold it.
    may_quote
        Whether fields may be quoted by RFC 4180, if the file reads so (`decide_quoting`).
        Otherwise each line is an item.

    Raises
    ------
    UsageError
        There is no file at ``path``.
    DataError
        A line without title, an item on two lines, an id that is none. The message names
        the line.
    """
    titles: dict[str, str | None] = {}
    header = None
    text = read_text(path)
    shape = RowShape(path, delimiter, 2, rest_is_last=True)
    quotation: Quotation | None = "text" if b'"' in text else None
    if quotation is not None and may_quote:
        quotation = decide_quoting(text, shape).quotation
    for number, fields in _title_rows(text, shape, are_quoted=quotation == "syntax"):
        item, title = fields[0], fields[-1]
        if not titles and header is None and is_title_header(item, title):
            header = _header_of(path, delimiter, number, fields)
            continue
        fault = id_fault(item)
        if fault is None and item in titles:
            fault = f"item {item} was already given on an earlier line"
        if fault is not None:
            raise DataError(f"{path}, line {number:,}: {fault}")
        if not titles:
            first = (number, fields)
        titles[item] = title.strip() or None
    item = next(iter(titles), "")
    if header is None and is_word_among_numbers(item, [*titles][1:]):
        header = _header_of(path, delimiter, *first)
        del titles[item]
    return Titles(titles, header, quotation)


def _title_rows(
    text: bytes, shape: RowShape, *, are_quoted: bool
) -> Iterator[tuple[int, list[str]]]:
    delimiter = shape.delimiter
    if are_quoted:
        for number, lines in quoted_rows(text, shape):
            yield number, split_row("\n".join(lines), delimiter)
        return
    for number, line in text_lines(text):
        item, parted, title = line.partition(delimiter)
        if not parted or "\r" in line:
            raise _title_error(shape.path, delimiter, number, line)
        yield number, [item, title]


def _header_of(path: Path, delimiter: str, number: int, fields: list[str]) -> str:
    header = delimiter.join(fields)
    if delimiter in fields[-1]:
        raise _title_error(path, delimiter, number, header)
    return header


def _title_error(path: Path, delimiter: str, number: int, line: str) -> DataError:
    expected = "item TAB title" if delimiter == "\t" else f"item{delimiter}title"
    return DataError(f"{path}, line {number:,}: expected '{expected}', found {shortened(line)}")


def read_sequences(path: Path) -> pa.Table:
    """Read ``user TAB item item ...`` lines into interactions without timestamps.

    Each line names its oldest item first. Only the blank of ASCII parts items: an id
    can hold others.

    Raises
    ------
    UsageError
        There is no file at ``path``.
    DataError
        A line without exactly one tab, a user on two lines, an id that is none, a header.
    """
    users: list[str] = []
    items: list[str] = []
    seen: set[str] = set()
    seen_items: set[str] = set()
    commas = _ItemCommas()
    for number, line in text_lines(read_text(path)):
        if not line.strip():
            continue
        user, tab, rest = line.partition("\t")
        sequence = [item for item in rest.strip(" \t").split(" ") if item]
        if not tab or not sequence or "\t" in rest.strip(" \t") or "\r" in line:
            raise DataError(
                f"{path}, line {number:,}: expected 'user TAB item item ...', "
                f"found {shortened(line)}"
            )
        if not seen and is_sequence_header(user):
            raise _header_error(path, number, line)
        fault = id_fault(user)
        if user in seen:
            fault = f"user {user} was already given on an earlier line"
        unseen = [item for item in sequence if item not in seen_items]
        fault = fault or next(filter(None, map(id_fault, unseen)), None)
        if fault is not None:
            raise DataError(f"{path}, line {number:,}: {fault}")
        if not seen:
            first = (number, line, len(sequence))
        commas.look_at(number, line, sequence)
        seen.add(user)
        seen_items.update(unseen)
        users += [user] * len(sequence)
        items += sequence
    commas.require_none(path)
    if users and is_word_among_numbers(users[0], seen - {users[0]}):
        number, line, length = first
        others = set(items[length:])
        if all(is_word_among_numbers(item, others) for item in items[:length]):
            raise _header_error(path, number, line)
    return pa.table(
        {
            "user_id": pa.array(users, pa.string()),
            "item_id": pa.array(items, pa.string()),
            "timestamp": pa.nulls(len(items), pa.int64()),
        }
    )


def _header_error(path: Path, number: int, line: str) -> DataError:
    return DataError(
        f"{path}, line {number:,}: expected 'user TAB item item ...', "
        f"found a header: {shortened(line)}",
        remedy="Remove the header",
    )


class _ItemCommas:
    """Whether commas, semicolons or bars part the items of every line, where blanks should."""

    def __init__(self) -> None:
        self._first = (0, "")
        self._is_possible = True

    def look_at(self, number: int, line: str, sequence: list[str]) -> None:
        """Take in a line; one with a single plain item says nothing."""
        if not self._is_possible:
            return
        is_parted = any(
            all(item.endswith(mark) for item in sequence[:-1]) and mark in "".join(sequence)
            for mark in ",;|"
        )
        if is_parted and not self._first[0]:
            self._first = (number, line)
        self._is_possible = is_parted or len(sequence) == 1

    def require_none(self, path: Path) -> None:
        """Refuse lines that are all parted so."""
        number, line = self._first
        if self._is_possible and number:
            raise DataError(
                f"{path}, line {number:,}: expected items parted by blanks, "
                f"found {shortened(line)}",
                remedy="Part the items of a line by blanks",
            )
