"""``--format table``: a CSV, TSV or parquet of interactions, and one of items."""

from __future__ import annotations

from crossan.common.datasets.formats.source import ImportSource, SourceTables, find, the_only
from crossan.common.datasets.formats.tabular import tables_of

__all__ = ["INTERACTION_FILES", "ITEM_FILES", "read_table_source"]

_SUFFIXES = (".parquet", ".csv", ".tsv")
INTERACTION_FILES = tuple(f"interactions{suffix}" for suffix in _SUFFIXES)
ITEM_FILES = tuple(f"items{suffix}" for suffix in _SUFFIXES)


def read_table_source(source: ImportSource) -> SourceTables:
    """Read the tables that the user named, or ``interactions.*`` and ``items.*`` in SRC."""
    items = source.items or find(source.root, ITEM_FILES)
    interactions = source.interactions
    if interactions is None and source.sequences is None:
        interactions = the_only(source.root, INTERACTION_FILES)
    return tables_of(source, interactions, items)
