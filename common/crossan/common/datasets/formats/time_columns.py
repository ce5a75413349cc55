"""Columns that look like a time, for an import that takes another or none."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.types as pt

from crossan.common.datasets.formats.columns_of import plain_name
from crossan.common.datasets.parquet import opened_parquet
from crossan.common.datasets.quoting import split_row
from crossan.common.datasets.text_rows import split_separator

__all__ = ["unread_times"]

_WORD = re.compile(r"(^|[^a-z])(time|timestamp|date|datetime|ts|epoch|unix)([^a-z]|$)|_at$")
_CALENDAR = re.compile(r"\d{4}[-/.]\d\d[-/.]\d\d([T ].*)?")
_EPOCH_DIGITS = re.compile(r"(0?[89]\d{8}|[1-2]\d{9})(\d{3}|\d{6}|\d{9})?(\.\d*)?")
"""Seconds since 1995 or so, or milliseconds, microseconds or nanoseconds."""
_SAMPLE_BYTES = 65_536
_SAMPLE_ROWS = 100


def unread_times(path: Path, ignored: Sequence[str]) -> tuple[str, ...]:
    """Return those of the ignored columns that look like a time, by name or by values.

    Only the first rows are looked at: it is a hint for people.
    """
    named = {name for name in ignored if _WORD.search(plain_name(name).lower())}
    others = [name for name in ignored if name not in named]
    if others:
        named |= _with_times(path, others)
    return tuple(name for name in ignored if name in named)


def _with_times(path: Path, names: Sequence[str]) -> set[str]:
    with path.open("rb") as file:
        head = file.read(_SAMPLE_BYTES)
    if not head.startswith(b"PAR1"):
        columns = _text_columns(head)
        return {name for name in names if _are_times(columns.get(name, []))}
    with opened_parquet(path) as file:
        schema = file.schema_arrow
        types = {name: schema.field(name).type for name in names if schema.names.count(name) == 1}
        calendar = {
            name for name, kind in types.items() if pt.is_timestamp(kind) or pt.is_date(kind)
        }
        plain = [name for name in types if name not in calendar and _is_plain(types[name])]
        rows = file.iter_batches(_SAMPLE_ROWS, columns=plain, use_threads=False)
        batch = next(rows, None) if plain else None
        if batch is None:
            return calendar
        return calendar | {
            name
            for name in plain
            if _are_times([_shown(v) for v in batch.column(name).to_pylist()])
        }


def _text_columns(head: bytes) -> dict[str, list[str]]:
    """Return the values of the first lines, as far as they have the fields of the header."""
    text, delimiter = split_separator(head.removeprefix(b"\xef\xbb\xbf"))
    lines = text.decode("utf-8", "replace").strip("\r\n").splitlines()
    if len(lines) > 1 and len(head) == _SAMPLE_BYTES:
        lines.pop()  # cut off
    names = split_row(lines[0], delimiter)
    rows = [split_row(line, delimiter) for line in lines[1 : _SAMPLE_ROWS + 1]]
    whole = [row for row in rows if len(row) == len(names)]
    return {name: [row[n] for row in whole] for n, name in enumerate(names)}


def _is_plain(kind: pa.DataType) -> bool:
    if pt.is_dictionary(kind):
        kind = kind.value_type
    return bool(pt.is_integer(kind) or pt.is_floating(kind) or pt.is_string(kind))


def _shown(value: object) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.3f}"
    return "" if value is None else str(value)


def _are_times(values: Sequence[str]) -> bool:
    texts = [value.strip() for value in values if value.strip()]
    return bool(texts) and any(
        all(map(pattern.fullmatch, texts)) for pattern in (_CALENDAR, _EPOCH_DIGITS)
    )
