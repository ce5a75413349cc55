"""Which format a source has, as the user says or as its files show."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from crossan.cache_schema.errors import UsageError
from crossan.common.datasets.formats.iisan import ITEM_FILES as IISAN_ITEMS
from crossan.common.datasets.formats.iisan import SEQUENCE_FILES, read_iisan
from crossan.common.datasets.formats.microlens import PAIR_FILES, TITLE_FILES, read_microlens
from crossan.common.datasets.formats.mmrec import read_mmrec
from crossan.common.datasets.formats.recbole import has_types, read_recbole
from crossan.common.datasets.formats.source import ImportSource, SourceTables
from crossan.common.datasets.formats.table import INTERACTION_FILES, read_table_source

__all__ = ["FORMATS", "choose_format"]

FORMATS: Mapping[str, Callable[[ImportSource], SourceTables]] = {
    "microlens": read_microlens,
    "iisan": read_iisan,
    "mmrec": read_mmrec,
    "recbole": read_recbole,
    "table": read_table_source,
}
"""The formats `crossan data import` reads."""


def choose_format(source: ImportSource) -> tuple[str, str]:
    """Return the one format that the files of a source have, and what shows it.

    Raises
    ------
    UsageError
        They have none of ours, or several.
    """
    signs = _signs(source)
    if len(signs) == 1:
        return next(iter(signs.items()))
    if not signs:
        raise UsageError(
            f"{source.root}: its files show none of the formats {', '.join(FORMATS)}",
            remedy="Name the tables: --interactions FILE, and --items FILE",
        )
    shown = "; ".join(f"{name} ({sign})" for name, sign in signs.items())
    raise UsageError(
        f"{source.root}: its files show several formats: {shown}",
        remedy=f"Name one: --format {next(iter(signs))}",
    )


def _signs(source: ImportSource) -> dict[str, str]:
    """Return the formats that the files show, with what shows each."""
    table = source.interactions or source.sequences
    if table is not None:
        if table.suffix == ".inter" and table.is_file():
            return {_format_of_inter(table): f"{table.name}"}
        return {"table": f"{table.name} is named"}
    signs = {}
    for name, patterns in (
        ("microlens", (PAIR_FILES, TITLE_FILES)),
        ("iisan", (SEQUENCE_FILES, IISAN_ITEMS)),
        ("table", (INTERACTION_FILES,)),
    ):
        firsts = [_first(source.root, kind) for kind in patterns]
        if all(firsts):
            signs[name] = " and ".join(path.name for path in firsts if path is not None)
    inter = _first(source.root, ("*.inter",))
    if inter is not None:
        signs[_format_of_inter(inter)] = inter.name
    return signs


def _format_of_inter(path: Path) -> str:
    return "recbole" if has_types(path) else "mmrec"


def _first(root: Path, patterns: tuple[str, ...]) -> Path | None:
    paths = [path for pattern in patterns for path in sorted(root.glob(pattern)) if path.is_file()]
    return paths[0] if paths else None
