"""From files as others publish them to the tables of a dataset, and a report of how."""

from __future__ import annotations

import os
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from crossan.cache_schema.errors import DataError, UsageError
from crossan.cache_schema.modality import Modality
from crossan.common.datasets.folder import ITEM_SCHEMA
from crossan.common.datasets.formats import FORMATS, ImportSource, SourceTables, choose_format
from crossan.common.datasets.formats.source import FILE_MODALITIES
from crossan.common.datasets.formats.tabular import require_used
from crossan.common.datasets.joins import join_of, match_ids, rename_ids
from crossan.common.datasets.media_files import match_media
from crossan.common.datasets.media_paths import look_for_paths
from crossan.common.datasets.report import Examples, ImportReport, Join, MediaReading
from crossan.common.datasets.time_ranges import time_range

__all__ = [
    "Imported",
    "add_files",
    "add_unlisted",
    "join_interactions",
    "may_be_missing",
    "read_source",
    "repeated_rows",
    "requested",
    "require_contents",
    "title_join",
]


@dataclass(frozen=True, slots=True)
class Imported:
    """The tables of a dataset, and the report."""

    interactions: pa.Table
    items: pa.Table
    report: ImportReport


def read_source(source_format: str | None, source: ImportSource) -> Imported:
    """Read a source and join its parts.

    Items that only the interactions name have no title, and media only by the
    names of files.

    Parameters
    ----------
    source_format
        One of `FORMATS`; None for the one that the files show.
    source
        What to import.

    Raises
    ------
    UsageError
        An unknown format, none or several that the files show, or a file that is
        missing or not the only one of its kind.
    DataError
        Files that do not hold what their format says, or parts that have no id in
        common.
    """
    chosen, decided, tables = _read_tables(source_format, source)
    listed = tables.items.column("item_id").to_pylist()
    interactions, join = join_interactions(tables, listed, tables.files[-1].name)
    items = add_unlisted(tables.items, interactions.column("item_id"))
    folders = {**tables.media_folders, **requested(source)}
    paths = look_for_paths(items, tables.readings, may_be_missing=may_be_missing(source, folders))
    items, files = add_files(items, folders, source.media)
    media = (*paths, *files)
    require_contents(tables, files)
    read_folders = [Path(folder) for reading in media for folder in reading.folders]
    return Imported(
        interactions,
        items,
        ImportReport(
            command="import",
            format=chosen,
            format_decided=decided,
            tables=tables.readings,
            joins=() if join is None else (join, title_join(items)),
            media=media,
            times=time_range(tables.times),
            repeated_interactions=repeated_rows(interactions),
            unread=_unread(source.root, [*tables.files, *read_folders], items),
        ),
    )


def _read_tables(source_format: str | None, source: ImportSource) -> tuple[str, str, SourceTables]:
    """Return the name of the format, how it was decided, and what it reads."""
    if source_format is not None and source_format not in FORMATS:
        raise UsageError(f"--format {source_format}: expected one of {', '.join(FORMATS)}")
    if not source.root.exists():
        raise UsageError(f"{source.root}: no such file or folder")
    if source_format is None:
        source_format, sign = choose_format(source)
        decided = f"by its files: {sign}"
    else:
        decided = "--format"
    tables = FORMATS[source_format](source)
    require_used(source.columns, tables.readings)
    return source_format, decided, tables


def join_interactions(
    tables: SourceTables, listed: Sequence[str], where: str
) -> tuple[pa.Table, Join | None]:
    """Give the interactions the item ids of a list of items.

    Parameters
    ----------
    tables
        What was read.
    listed
        Item ids that are known.
    where
        What lists them, for the message.

    Returns
    -------
    tuple
        The interactions; the join, None where either side is empty.

    Raises
    ------
    DataError
        No item id of the interactions is in the list.
    """
    interactions = tables.interactions
    used = interactions.column("item_id").unique().to_pylist()
    if not listed or not used:
        return interactions, None
    matching = match_ids(used, listed)
    if not matching.partners:
        remedy = "Write the ids alike in both"
        if tables.readings[0].columns:  # lines of sequences have none
            remedy += ", or choose the columns: --column item_id=NAME"
        raise DataError(
            f"{tables.files[0]}: expected items of {where}, found none of them among {len(used):,}"
            f"\n  {tables.files[0].name} names: {Examples.of(used).listed()}"
            f"\n  {where} lists: {Examples.of(listed).listed()}",
            remedy=remedy,
        )
    join = join_of("items of interactions", "items", used, listed, matching)
    renamed = rename_ids(interactions.column("item_id"), matching)
    return interactions.set_column(1, "item_id", renamed), join


def add_unlisted(items: pa.Table, used: pa.ChunkedArray) -> pa.Table:
    """Add the items that only the interactions name, sorted, after the others."""
    listed = set(items.column("item_id").to_pylist())
    unlisted = sorted(set(used.unique().to_pylist()) - listed)
    added = {name: pa.nulls(len(unlisted), pa.string()) for name in ITEM_SCHEMA.names}
    added["item_id"] = pa.array(unlisted, pa.string())
    return pa.concat_tables(
        [items.select(ITEM_SCHEMA.names).cast(ITEM_SCHEMA), pa.table(added, ITEM_SCHEMA)]
    )


def requested(source: ImportSource) -> dict[Modality, list[Path]]:
    """Return the folders that the user named, as `add_files` takes them."""
    return {modality: [folder] for modality, folder in source.media.items()}


def require_contents(tables: SourceTables, files: Sequence[MediaReading]) -> None:
    """Refuse a table of items that gives none of them a title or a medium.

    Parameters
    ----------
    tables
        What was read.
    files
        What became of files that are named for items.

    Raises
    ------
    DataError
        The message has the columns that were not taken.
    """
    contents = ("title", *(modality.value for modality in FILE_MODALITIES))
    items = tables.items
    if not items.num_rows or any(_has_texts(items.column(name)) for name in contents):
        return
    if any(reading.join.matched for reading in files):
        return
    reading = tables.readings[-1]
    unused = Examples.of(reading.ignored).listed()
    raise DataError(
        f"{reading.file}: expected titles or media of its items, found neither"
        + (f"\n  columns that were not taken: {unused}" if unused else ""),
        remedy="Name the column of titles, --column title=NAME, or import without this table",
    )


def _has_texts(column: pa.ChunkedArray) -> bool:
    return any(text and text.strip() for text in column.to_pylist())


def may_be_missing(source: ImportSource, folders: Container[Modality] = ()) -> tuple[Modality, ...]:
    """Return the modalities whose paths need lead to no file of this machine.

    Parameters
    ----------
    source
        What the user named.
    folders
        Modalities of which there is a folder, too.
    """
    return tuple(m for m in FILE_MODALITIES if source.media_elsewhere or m in folders)


def add_files(
    items: pa.Table,
    folders: Mapping[Modality, Sequence[Path]],
    is_requested: Container[Modality],
) -> tuple[pa.Table, tuple[MediaReading, ...]]:
    """Give the items the files in folders that are named for them.

    Such a file counts before a path that the item has; an item without such a file
    keeps its path.

    Returns
    -------
    tuple
        The items; what became of the files, for each modality that has folders.

    Raises
    ------
    UsageError, DataError
        As `match_media`.
    """
    ids = items.column("item_id").to_pylist()
    readings: list[MediaReading] = []
    for modality in FILE_MODALITIES:
        if not folders.get(modality):
            continue
        files, reading = match_media(
            folders[modality], modality, ids, is_requested=modality in is_requested
        )
        readings.append(reading)
        before = items.column(modality).to_pylist()
        paths = [files.get(item, path) for item, path in zip(ids, before, strict=True)]
        column = items.column_names.index(modality)
        items = items.set_column(column, modality.value, pa.array(paths, pa.string()))
    return items, tuple(readings)


def repeated_rows(interactions: pa.Table) -> Examples:
    """Return the rows with a time whose user, item and time an earlier row has, too."""
    keys = ["user_id", "item_id", "timestamp"]
    timed = interactions.filter(pc.is_valid(interactions.column("timestamp")))
    counts = timed.group_by(keys, use_threads=False).aggregate([([], "count_all")])
    repeated = counts.filter(pc.greater(counts.column("count_all"), 1))
    shown = repeated.slice(0, 5).to_pylist()
    return Examples(
        count=(pc.sum(repeated.column("count_all")).as_py() or 0) - repeated.num_rows,
        examples=tuple(f"{row['user_id']} {row['item_id']} {row['timestamp']}" for row in shown),
    )


def title_join(items: pa.Table) -> Join:
    """Return how many items have a title."""
    titles = items.column("title").to_pylist()
    titled = [bool(title and title.strip()) for title in titles]
    ids = items.column("item_id").to_pylist()
    untitled = Examples.of(item for item, has in zip(ids, titled, strict=True) if not has)
    return Join(left="items", right="titles", matched=sum(titled), unmatched=untitled)


def _unread(root: Path, read: Sequence[Path], items: pa.Table) -> Examples:
    """Return the names in SRC that nothing was read of, but for hidden ones."""
    if not root.is_dir():
        return Examples()
    prefix = f"{root.absolute()}{os.sep}"
    paths = [str(path.absolute()) for path in read]
    for modality in FILE_MODALITIES:
        paths += [path for path in items.column(modality).to_pylist() if path]
    used = {path[len(prefix) :].partition(os.sep)[0] for path in paths if path.startswith(prefix)}
    names = sorted(entry.name for entry in root.iterdir())
    return Examples.of(name for name in names if name not in used and name[0] != ".")
