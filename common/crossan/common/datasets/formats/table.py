"""``--format table``: a CSV, TSV or parquet of interactions, and one of items."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crossan.cache_schema.errors import UsageError
from crossan.common.datasets.formats.source import ImportSource, SourceTables, the_only
from crossan.common.datasets.formats.tabular import tables_of

__all__ = ["INTERACTION_FILES", "ITEM_FILES", "read_table_source"]

_SUFFIXES = (".parquet", ".csv", ".tsv")
INTERACTION_FILES = tuple(f"interactions{suffix}" for suffix in _SUFFIXES)
ITEM_FILES = tuple(f"items{suffix}" for suffix in _SUFFIXES)


def read_table_source(source: ImportSource) -> SourceTables:
    """Read the tables that the user named, or ``interactions.*`` and ``items.*`` in SRC."""
    items = source.items or _one_of(source.root, ITEM_FILES)
    interactions = source.interactions
    if interactions is None and source.sequences is None:
        named = _one_of(source.root, INTERACTION_FILES)
        interactions = named or the_only(source.root, INTERACTION_FILES)
    return tables_of(source, interactions, items)


def _one_of(root: Path, names: Sequence[str]) -> Path | None:
    """Return the file of one of these names, None where there is none.

    An export in two formats may be two exports: which one counts is not guessed.
    """
    paths = [root / name for name in names if (root / name).is_file()]
    if len(paths) > 1:
        flag = f"--{paths[0].stem}"
        raise UsageError(
            f"{root}: expected one file, found {' and '.join(path.name for path in paths)}",
            remedy=f"Name the one that counts: {flag} {paths[0]}",
        )
    return paths[0] if paths else None
