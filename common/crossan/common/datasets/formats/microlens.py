"""MicroLens as published: pairs, titles, and folders of covers, videos and audios."""

from __future__ import annotations

import pyarrow as pa

from crossan.common.datasets.formats.source import (
    FILE_MODALITIES,
    ImportSource,
    SourceTables,
    find,
    folders_in,
    refuse_tables,
    the_only,
)
from crossan.common.datasets.formats.tabular import (
    FILE_ORDER,
    interactions_from,
    sequences_from,
    titles_reading,
)
from crossan.common.datasets.line_tables import read_titles

__all__ = ["PAIR_FILES", "TITLE_FILES", "read_microlens"]

PAIR_FILES = ("*_pairs.csv", "*_pairs.tsv")
TITLE_FILES = ("*_titles.csv", "*_title*.csv")


def read_microlens(source: ImportSource) -> SourceTables:
    """Read pairs, with timestamps or as sequences, and the titles."""
    refuse_tables(source, "microlens")
    times = FILE_ORDER
    pairs = find(source.root, PAIR_FILES[:1])
    if pairs is None:
        pairs = the_only(source.root, PAIR_FILES[1:])
        interactions, reading = sequences_from(pairs)
    else:
        interactions, times, reading = interactions_from(pairs, source)
    path = the_only(source.root, TITLE_FILES)
    titles = read_titles(path, ",")
    ids = sorted(titles.by_item)
    nothing = pa.nulls(len(ids), pa.string())
    items = {
        "item_id": pa.array(ids, pa.string()),
        "title": pa.array([titles.by_item[item] for item in ids], pa.string()),
        **dict.fromkeys(FILE_MODALITIES, nothing),
    }
    return SourceTables(
        interactions=interactions,
        items=pa.table(items),
        times=times,
        readings=(reading, titles_reading(path, "titles", titles)),
        files=(pairs, path),
        media_folders=folders_in(source.root),
    )
