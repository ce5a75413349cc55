"""Tables with a header, in whatever layout they lie."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from crossan.cache_schema.errors import DataError, UsageError
from crossan.cache_schema.item_id import shortened
from crossan.common.datasets.columns import ids_of, texts_of
from crossan.common.datasets.formats.columns_of import (
    INTERACTION_NAMES,
    ITEM_NAMES,
    PART_NAMES,
    Chosen,
    choose_columns,
    plain_name,
)
from crossan.common.datasets.formats.source import (
    FILE_MODALITIES,
    ImportSource,
    SourceTables,
    empty_interactions,
    empty_items,
)
from crossan.common.datasets.formats.time_columns import unread_times
from crossan.common.datasets.line_tables import Titles, read_sequences
from crossan.common.datasets.own_split import parts_of_labels, split_notes
from crossan.common.datasets.report import TableReading
from crossan.common.datasets.tables import column_names, read_marked_table
from crossan.common.datasets.times import TimeReading, milliseconds_of
from crossan.common.datasets.typed_tables import PART_COLUMN

__all__ = [
    "FILE_ORDER",
    "interactions_from",
    "items_from",
    "require_used",
    "sequences_from",
    "tables_of",
    "titles_reading",
]

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
FILE_ORDER = TimeReading("none", "no timestamps: file order")


def tables_of(source: ImportSource, interactions: Path | None, items: Path | None) -> SourceTables:
    """Read interactions and items, each where there is a file of them.

    Raises
    ------
    UsageError
        A column is missing or ambiguous, or interactions come from two files.
    DataError
        A file does not hold such a table.
    """
    if source.interactions is not None and source.sequences is not None:
        raise UsageError("--interactions and --sequences: give one of them")
    table, times = empty_interactions(), FILE_ORDER
    item_table = empty_items()
    readings: list[TableReading] = []
    log = source.sequences or interactions
    if source.sequences is not None:
        table, reading = sequences_from(source.sequences)
        readings.append(reading)
    elif interactions is not None:
        table, times, reading = interactions_from(interactions, source)
        readings.append(reading)
    if items is not None:
        item_table, reading = items_from(items, source)
        readings.append(reading)
    return SourceTables(
        interactions=table,
        items=item_table,
        times=times,
        readings=tuple(readings),
        files=tuple(path for path in (log, items) if path is not None),
    )


def sequences_from(path: Path) -> tuple[pa.Table, TableReading]:
    """Read lines of ``user TAB item item ...``."""
    table = read_sequences(path)
    return table, TableReading(file=str(path), holds="interactions", rows=table.num_rows)


def titles_reading(path: Path, holds: str, titles: Titles) -> TableReading:
    """Return what the report says of a file of titles."""
    columns = {}
    if titles.header is not None:
        names = re.split(r"[,\t]", titles.header, maxsplit=1)
        columns = {"item_id": names[0], "title": names[-1]}
    return TableReading(
        file=str(path),
        holds=holds,
        rows=len(titles.by_item),
        columns=columns,
        quotation=titles.quotation,
    )


def interactions_from(
    path: Path, source: ImportSource, *, has_parts: bool = False
) -> tuple[pa.Table, TimeReading, TableReading]:
    """Read a table with one row per interaction.

    Parameters
    ----------
    path, source
        The table, and what the user said of it.
    has_parts
        Whether a column is looked for that says the part of every row. One that the user
        named is taken in any case.
    """
    known = {**INTERACTION_NAMES}
    if has_parts or PART_COLUMN in source.columns:
        known[PART_COLUMN] = PART_NAMES
    chosen = choose_columns(column_names(path), path, known, source.columns, ("user_id", "item_id"))
    table, quotation = read_marked_table(path, set(chosen.columns.values()))
    columns = {
        ours: ids_of(table.column(chosen.columns[ours]), source=path, name=chosen.columns[ours])
        for ours in ("user_id", "item_id")
    }
    times = FILE_ORDER
    columns["timestamp"] = pa.nulls(table.num_rows, pa.int64())
    if "timestamp" in chosen.columns:
        name = chosen.columns["timestamp"]
        columns["timestamp"], times = milliseconds_of(
            table.column(name), source.time_unit, source=path, name=name
        )
    if PART_COLUMN in chosen.columns:
        name = chosen.columns[PART_COLUMN]
        columns[PART_COLUMN] = parts_of_labels(table.column(name), source=path, name=name)
    interactions = pa.table(columns)
    reading = _reading(path, "interactions", table.num_rows, chosen, quotation)
    notes = tuple(split_notes(interactions))
    return interactions, times, reading.model_copy(update={"notes": notes})


def items_from(path: Path, source: ImportSource) -> tuple[pa.Table, TableReading]:
    """Read a table with one row per item.

    Relative paths are relative to the table.

    A web address is no path: its item has no file of the column. A column that holds
    nothing else is not taken.

    Raises
    ------
    UsageError, DataError
        As `choose_columns` and `read_table`; or an item twice, or a column that the user
        requested and that holds nothing but addresses.
    """
    chosen = choose_columns(column_names(path), path, ITEM_NAMES, source.columns, ("item_id",))
    table, quotation = read_marked_table(path, set(chosen.columns.values()))
    columns: dict[str, pa.Array | pa.ChunkedArray] = {}
    notes = []
    for ours in ("item_id", "title", *FILE_MODALITIES):
        theirs = chosen.columns.get(ours)
        if theirs is None:
            columns[ours] = pa.nulls(table.num_rows, pa.string())
        elif ours == "item_id":
            columns[ours] = ids_of(table.column(theirs), source=path, name=theirs)
            _require_unique(columns[ours], path, theirs)
        else:
            columns[ours] = texts_of(table.column(theirs), source=path, name=theirs)
        if theirs is None or ours not in FILE_MODALITIES:
            continue
        values, note = _split_addresses(columns[ours].to_pylist(), theirs)
        if note is not None:
            notes.append(note)
            if not any(values):
                if ours in source.columns:
                    raise DataError(f"{path}, column {theirs}: expected paths of files; {note}")
                chosen = chosen.without(ours)
        paths = [str((path.parent / value).absolute()) if value else None for value in values]
        columns[ours] = pa.array(paths, pa.string())
    reading = _reading(path, "items", table.num_rows, chosen, quotation)
    return pa.table(columns), reading.model_copy(update={"notes": tuple(notes)})


def _split_addresses(
    values: Sequence[str | None], name: str
) -> tuple[list[str | None], str | None]:
    """Return the paths among the values of a column, and a note about its web addresses.

    An address is no path: its item has None.

    Parameters
    ----------
    values
        Paths, addresses, and None or the empty text for neither.
    name
        The column, for the note.
    """
    addresses = [value for value in values if value and _ADDRESS.match(value)]
    if not addresses:
        return [value or None for value in values], None
    paths = [None if not value or _ADDRESS.match(value) else value for value in values]
    count = f"{len(addresses):,} of {sum(map(bool, values)):,} values"
    return paths, f"{name}: {count} are addresses and no files, such as {shortened(addresses[0])}"


def _require_unique(ids: pa.ChunkedArray, path: Path, name: str) -> None:
    if len(ids.unique()) == len(ids):
        return
    rows: dict[str, int] = {}
    for row, item in enumerate(ids.to_pylist(), 1):
        if item in rows:
            raise DataError(
                f"{path}, column {name}, row {row:,}: expected each item once, "
                f"found {shortened(item)} as in row {rows[item]:,}"
            )
        rows[item] = row


def _reading(
    path: Path, holds: str, row_count: int, chosen: Chosen, quotation: str | None
) -> TableReading:
    return TableReading(
        file=str(path),
        holds=holds,
        rows=row_count,
        columns=dict(chosen.columns),
        ignored=chosen.ignored,
        unread_times=unread_times(path, chosen.ignored) if holds == "interactions" else (),
        quotation=quotation,
    )


def require_used(requested: Mapping[str, str], readings: Sequence[TableReading]) -> None:
    """Refuse a requested column that was taken from no table: it may be misspelt.

    Raises
    ------
    UsageError
        The message lists the columns that there are.
    """
    for ours, theirs in requested.items():
        taken = [plain_name(reading.columns.get(ours, "")) for reading in readings]
        if plain_name(theirs) in taken:
            continue
        present = sorted(
            {name for reading in readings for name in (*reading.columns.values(), *reading.ignored)}
        )
        raise UsageError(
            f"--column {ours}={theirs}: expected a column of a table that can hold {ours}, "
            f"found {', '.join(present) or 'no table with named columns'}"
        )
