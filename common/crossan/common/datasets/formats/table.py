"""``--format table``: a CSV, TSV or parquet of interactions, and one of items."""

from __future__ import annotations

from crossan.cache_schema.errors import UsageError
from crossan.common.datasets.formats.source import (
    ImportSource,
    SourceTables,
    empty_items,
    find,
    the_only,
)
from crossan.common.datasets.formats.tabular import (
    FILE_ORDER,
    items_from,
    sequences_from,
    tables_of,
)
from crossan.common.datasets.report import TableReading

__all__ = ["INTERACTION_FILES", "ITEM_FILES", "read_table_source"]

_SUFFIXES = (".parquet", ".csv", ".tsv")
INTERACTION_FILES = tuple(f"interactions{suffix}" for suffix in _SUFFIXES)
ITEM_FILES = tuple(f"items{suffix}" for suffix in _SUFFIXES)


def read_table_source(source: ImportSource) -> SourceTables:
    """Read the tables that the user named, or ``interactions.*`` and ``items.*`` in SRC."""
    if source.interactions is not None and source.sequences is not None:
        raise UsageError("--interactions and --sequences: give one of them")
    items = source.items or find(source.root, ITEM_FILES)
    if source.sequences is None:
        interactions = source.interactions or the_only(source.root, INTERACTION_FILES)
        return tables_of(source, interactions, items)
    table, reading = sequences_from(source.sequences)
    item_table = empty_items()
    readings: tuple[TableReading, ...] = (reading,)
    if items is not None:
        item_table, item_reading = items_from(items, source)
        readings = (reading, item_reading)
    return SourceTables(
        interactions=table,
        items=item_table,
        times=FILE_ORDER,
        readings=readings,
        files=(source.sequences, *((items,) if items else ())),
    )
