"""RecBole's atomic files."""

from __future__ import annotations

from pathlib import Path

from crossan.cache_schema.errors import UsageError
from crossan.common.datasets.formats.columns_of import plain_name
from crossan.common.datasets.formats.source import ImportSource, SourceTables, find, the_only
from crossan.common.datasets.formats.tabular import tables_of

__all__ = ["has_types", "read_recbole", "refuse_sequences"]

_PARTS = ("train", "valid", "test")
"""As RecBole's ``benchmark_filename`` names them."""


def read_recbole(source: ImportSource) -> SourceTables:
    """Read ``*.inter`` and ``*.item``.

    Types in their headers are left out. Files of parts are not read where that of all
    interactions lies beside them.
    """
    refuse_sequences(source)
    interactions = source.interactions or _whole(source.root)
    items = source.items or find(source.root, ("*.item",))
    return tables_of(source, interactions, items)


def _whole(root: Path) -> Path:
    """Return ``NAME.inter``, beside which ``NAME.train.inter`` and others may lie."""
    paths = set(root.glob("*.inter"))
    parts = {path.with_name(f"{path.stem}.{part}.inter") for path in paths for part in _PARTS}
    others = paths - parts
    return others.pop() if len(others) == 1 else the_only(root, ("*.inter",))


def has_types(path: Path) -> bool:
    """Whether the columns of an ``.inter`` file are named with RecBole's types."""
    with path.open(encoding="utf-8-sig", errors="replace") as lines:
        names = lines.readline(10_000).rstrip("\r\n").split("\t")
    return all(plain_name(name) != name for name in names)


def refuse_sequences(source: ImportSource) -> None:
    """Refuse lines of sequences, which an ``.inter`` is not.

    Raises
    ------
    UsageError
        ``--sequences`` was given.
    """
    if source.sequences is not None:
        raise UsageError(
            f"--sequences {source.sequences}: expected with --format table, found another format"
        )
