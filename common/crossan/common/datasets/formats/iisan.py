"""IISAN's tab-separated files: ``*_users.tsv``, ``*_items.tsv`` and a folder of covers."""

from __future__ import annotations

import pyarrow as pa

from crossan.common.datasets.formats.source import (
    FILE_MODALITIES,
    ImportSource,
    SourceTables,
    folders_in,
    refuse_tables,
    the_only,
)
from crossan.common.datasets.formats.tabular import FILE_ORDER, sequences_from, titles_reading
from crossan.common.datasets.line_tables import read_titles

__all__ = ["ITEM_FILES", "SEQUENCE_FILES", "read_iisan"]

SEQUENCE_FILES = ("*_users.tsv", "*_pairs.tsv")
ITEM_FILES = ("*_items.tsv",)


def read_iisan(source: ImportSource) -> SourceTables:
    """Read sequences of items, and lines of ``item TAB title``."""
    refuse_tables(source, "iisan")
    users = the_only(source.root, SEQUENCE_FILES)
    interactions, reading = sequences_from(users)
    path = the_only(source.root, ITEM_FILES)
    # IISAN's own reader knows no quoting.
    titles = read_titles(path, "\t", may_quote=False)
    nothing = pa.nulls(len(titles.by_item), pa.string())
    items = {
        "item_id": pa.array(titles.by_item.keys(), pa.string()),
        "title": pa.array(titles.by_item.values(), pa.string()),
        **dict.fromkeys(FILE_MODALITIES, nothing),
    }
    return SourceTables(
        interactions=interactions,
        items=pa.table(items),
        times=FILE_ORDER,
        readings=(reading, titles_reading(path, "items", titles)),
        files=(users, path),
        media_folders=folders_in(source.root),
    )
