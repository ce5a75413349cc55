"""What an import is given, what a format makes of it, and finding files by their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from crossan.cache_schema.errors import UsageError
from crossan.cache_schema.modality import Modality
from crossan.common.datasets.folder import INTERACTION_SCHEMA, ITEM_SCHEMA
from crossan.common.datasets.media_files import folders_by_name
from crossan.common.datasets.report import TableReading
from crossan.common.datasets.times import TimeReading, TimeUnit

__all__ = [
    "FILE_MODALITIES",
    "ImportSource",
    "SourceTables",
    "empty_interactions",
    "empty_items",
    "find",
    "folders_in",
    "refuse_tables",
    "the_only",
]

FILE_MODALITIES = (Modality.IMAGE, Modality.VIDEO, Modality.AUDIO)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportSource:
    """What to import and how its files are named."""

    root: Path
    interactions: Path | None = None
    """A table with one row per interaction."""
    sequences: Path | None = None
    """Lines of ``user TAB item item ...``."""
    items: Path | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    """From our name of a column to the name in the files."""
    time_unit: TimeUnit = "auto"
    media: Mapping[Modality, Path] = field(default_factory=dict)
    """Folders of media that the user named."""
    media_elsewhere: bool = False
    """Whether paths in the table of items may all lead to no file of this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceTables:
    """What a format found, under our names, before anything is joined."""

    interactions: pa.Table
    """``user_id``, ``item_id``, ``timestamp`` in milliseconds or null; and ``part`` where the files
    say the part of every row."""
    items: pa.Table
    """``item_id``, ``title``, and absolute paths ``image``, ``video``, ``audio``."""
    times: TimeReading
    readings: tuple[TableReading, ...]
    """Of the interactions first, then of the items where there is a table of them."""
    files: tuple[Path, ...]
    """The files that were read."""
    media_folders: Mapping[Modality, Sequence[Path]] = field(default_factory=dict)
    """Folders of media that belong to the format."""


def empty_interactions() -> pa.Table:
    """Return a table of no interactions."""
    return INTERACTION_SCHEMA.empty_table()


def empty_items() -> pa.Table:
    """Return a table of no items."""
    return ITEM_SCHEMA.empty_table()


def folders_in(root: Path) -> dict[Modality, list[Path]]:
    """Return the folders of media in ``root``, by what their names say."""
    return {modality: folders_by_name(root, modality) for modality in FILE_MODALITIES}


def the_only(root: Path, patterns: Sequence[str]) -> Path:
    """Return the one file in ``root`` of the first pattern that any has.

    Raises
    ------
    UsageError
        There is none, or several.
    """
    path = find(root, patterns)
    if path is None:
        raise UsageError(f"{root}: expected {' or '.join(patterns)}, found none")
    return path


def find(root: Path, patterns: Sequence[str]) -> Path | None:
    """Return what `the_only` does, None where there is none."""
    for pattern in patterns:
        matches = sorted(root.glob(pattern)) if root.is_dir() else []
        if len(matches) > 1:
            names = ", ".join(path.name for path in matches)
            raise UsageError(
                f"{root}: expected one {pattern}, found {names}",
                remedy="Move the others elsewhere, or name the files: --interactions, --items",
            )
        if matches:
            return matches[0]
    return None


def refuse_tables(source: ImportSource, source_format: str) -> None:
    """Refuse tables that the user named for a format that finds its own.

    Raises
    ------
    UsageError
        One of ``--interactions``, ``--sequences``, ``--items`` was given.
    """
    for flag, path in (
        ("--interactions", source.interactions),
        ("--sequences", source.sequences),
        ("--items", source.items),
    ):
        if path is not None:
            raise UsageError(
                f"{flag} {path}: --format {source_format} finds its files in SRC by their names",
                remedy="Leave it out, or import with --format table",
            )
