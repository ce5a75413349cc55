"""RecBole's atomic files, and the ``.inter`` files of MMRec, which name no types."""

from __future__ import annotations

from pathlib import Path

from crossan.cache_schema.errors import UsageError
from crossan.common.datasets.formats.columns_of import plain_name
from crossan.common.datasets.formats.source import ImportSource, SourceTables, find, the_only
from crossan.common.datasets.formats.tabular import tables_of

__all__ = ["has_types", "read_mmrec", "read_recbole"]


def read_recbole(source: ImportSource) -> SourceTables:
    """Read ``*.inter`` and ``*.item``.

    Types in their headers are left out.
    """
    _refuse_sequences(source)
    interactions = source.interactions or the_only(source.root, ("*.inter",))
    items = source.items or find(source.root, ("*.item",))
    return tables_of(source, interactions, items)


def read_mmrec(source: ImportSource) -> SourceTables:
    """Read ``*.inter``.

    Items come only from a table that the user names.
    """
    _refuse_sequences(source)
    interactions = source.interactions or the_only(source.root, ("*.inter",))
    return tables_of(source, interactions, source.items)


def has_types(path: Path) -> bool:
    """Whether the columns of an ``.inter`` file are named with RecBole's types."""
    with path.open(encoding="utf-8-sig", errors="replace") as lines:
        names = lines.readline(10_000).rstrip("\r\n").split("\t")
    return all(plain_name(name) != name for name in names)


def _refuse_sequences(source: ImportSource) -> None:
    if source.sequences is not None:
        raise UsageError(
            f"--sequences {source.sequences}: expected with --format table, found another format"
        )
