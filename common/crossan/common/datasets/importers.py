"""Files as others publish them, turned into interactions and items tables.

Media stay where they are: the items table holds absolute paths.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from crossan.cache_schema.errors import UsageError
from crossan.common.datasets.columns import ids_of, texts_of
from crossan.common.datasets.line_tables import read_sequences, read_titles
from crossan.common.datasets.tables import pick_columns
from crossan.common.datasets.times import TimeUnit, milliseconds_of

__all__ = ["FORMATS", "ImportSource", "read_source"]

_MEDIA_SUFFIXES = {
    "image": (".jpg", ".jpeg", ".png", ".webp"),
    "video": (".mp4", ".webm", ".mkv", ".mov", ".avi"),
    "audio": (".wav", ".mp3", ".flac", ".ogg", ".m4a"),
}
_MEDIA_FOLDERS = {"image": "cover", "video": "video", "audio": "audio"}
"""What the name of a folder of such media contains."""
_TABLE_SUFFIXES = (".parquet", ".csv", ".tsv")

_INTERACTION_COLUMNS = {
    "user_id": ("user_id", "user", "userID"),
    "item_id": ("item_id", "item", "itemID"),
    "timestamp": ("timestamp",),
}
_ITEM_COLUMNS = {
    "item_id": ("item_id", "item", "itemID"),
    **{name: (name,) for name in ("title", "image", "video", "audio")},
}


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


@dataclass(frozen=True, slots=True)
class _Tables:
    interactions: pa.Table
    items: pa.Table


def read_source(source_format: str, source: ImportSource) -> tuple[pa.Table, pa.Table]:
    """Return the interactions and the items of a source.

    Items that only the interactions name have no media.

    Raises
    ------
    UsageError
        An unknown format, or a file that is missing or not the only one of its kind.
    DataError
        Files that do not hold what their format says.
    """
    if source_format not in FORMATS:
        raise UsageError(f"--format {source_format}: expected one of {', '.join(FORMATS)}")
    if not source.root.exists():
        raise UsageError(f"{source.root}: no such file or folder")
    tables = FORMATS[source_format](source)
    return tables.interactions, _add_unlisted(tables.items, tables.interactions.column("item_id"))


def _read_microlens(source: ImportSource) -> _Tables:
    pairs = _find(source.root, ("*_pairs.csv",))
    if pairs is not None:
        interactions = _interactions_from(pairs, source)
    else:
        interactions = read_sequences(_the_only(source.root, ("*_pairs.tsv",)))
    titles = read_titles(_the_only(source.root, ("*_titles.csv", "*_title*.csv")), ",").by_item
    media = {kind: _media_by_id(source.root, kind) for kind in _MEDIA_FOLDERS}
    # A media folder may hold more than this edition of the data set: files of items that neither
    # the interactions nor the titles name stay out.
    with_media = set().union(*media.values())
    ids = sorted(set(titles) | with_media & set(interactions.column("item_id").to_pylist()))
    columns = {
        kind: [media[kind].get(item) for item in ids] for kind in ("image", "video", "audio")
    }
    return _Tables(
        interactions,
        pa.table({"item_id": ids, "title": [titles.get(item) for item in ids], **_texts(columns)}),
    )


def _read_iisan(source: ImportSource) -> _Tables:
    interactions = read_sequences(_the_only(source.root, ("*_users.tsv", "*_pairs.tsv")))
    # IISAN's own reader knows no quoting.
    path = _the_only(source.root, ("*_items.tsv",))
    titles = read_titles(path, "\t", may_quote=False).by_item
    images = _media_by_id(source.root, "image")
    ids = list(titles)
    nothing: list[str | None] = [None] * len(ids)
    columns = {"image": [images.get(item) for item in ids], "video": nothing, "audio": nothing}
    return _Tables(
        interactions,
        pa.table(
            {"item_id": ids, "title": pa.array(titles.values(), pa.string()), **_texts(columns)}
        ),
    )


def _read_mmrec(source: ImportSource) -> _Tables:
    interactions = _interactions_from(
        source.interactions or _the_only(source.root, ("*.inter",)), source
    )
    return _Tables(interactions, _items_from(source.items, source))


def _read_table_source(source: ImportSource) -> _Tables:
    if source.interactions is not None and source.sequences is not None:
        raise UsageError("--interactions and --sequences: give one of them")
    if source.sequences is not None:
        interactions = read_sequences(source.sequences)
    else:
        table = source.interactions or _the_only(
            source.root, tuple(f"interactions{suffix}" for suffix in _TABLE_SUFFIXES)
        )
        interactions = _interactions_from(table, source)
    items = source.items or _find(
        source.root, tuple(f"items{suffix}" for suffix in _TABLE_SUFFIXES)
    )
    return _Tables(interactions, _items_from(items, source))


FORMATS: Mapping[str, Callable[[ImportSource], _Tables]] = {
    "microlens": _read_microlens,
    "iisan": _read_iisan,
    "mmrec": _read_mmrec,
    "table": _read_table_source,
}
"""The formats `crossan data import` reads."""


def _interactions_from(path: Path, source: ImportSource) -> pa.Table:
    names = _mapped(_INTERACTION_COLUMNS, source.columns)
    table = pick_columns(path, names, required=("user_id", "item_id"))
    times, _ = milliseconds_of(
        table.column("timestamp"), source.time_unit, source=path, name="timestamp"
    )
    ids = {
        name: ids_of(table.column(name), source=path, name=name) for name in ("user_id", "item_id")
    }
    return pa.table({**ids, "timestamp": times})


def _items_from(path: Path | None, source: ImportSource) -> pa.Table:
    if path is None:
        return pa.table({name: pa.array([], pa.string()) for name in _ITEM_COLUMNS})
    table = pick_columns(path, _mapped(_ITEM_COLUMNS, source.columns), required=("item_id",))
    columns = {"item_id": ids_of(table.column("item_id"), source=path, name="item_id")}
    for name in ("title", *_MEDIA_FOLDERS):
        columns[name] = texts_of(table.column(name), source=path, name=name)
        if name in _MEDIA_FOLDERS:
            # A relative path is relative to the table that names it, not to where we run.
            paths = [
                str((path.parent / value).absolute()) if value else None
                for value in columns[name].to_pylist()
            ]
            columns[name] = pa.array(paths, pa.string())
    return pa.table(columns)


def _mapped(
    known: Mapping[str, Sequence[str]], columns: Mapping[str, str]
) -> dict[str, Sequence[str]]:
    return {ours: (columns[ours],) if ours in columns else theirs for ours, theirs in known.items()}


def _media_by_id(root: Path, kind: str) -> dict[str, str]:
    entries = sorted(root.iterdir()) if root.is_dir() else []
    subfolders = [entry for entry in entries if entry.is_dir()]
    folders = [folder for folder in subfolders if _MEDIA_FOLDERS[kind] in folder.name.lower()]
    if kind == "image":
        # Covers come first, as the first file of an item counts.
        folders += [folder for folder in subfolders if "image" in folder.name.lower()]
    paths: dict[str, str] = {}
    for folder in folders:
        for file in sorted(folder.iterdir()):
            if file.suffix.lower() in _MEDIA_SUFFIXES[kind]:
                paths.setdefault(file.stem, str(file.absolute()))
    return paths


def _the_only(root: Path, patterns: Sequence[str]) -> Path:
    path = _find(root, patterns)
    if path is None:
        raise UsageError(f"{root}: expected {' or '.join(patterns)}, found none")
    return path


def _find(root: Path, patterns: Sequence[str]) -> Path | None:
    for pattern in patterns:
        matches = sorted(root.glob(pattern)) if root.is_dir() else []
        if len(matches) > 1:
            names = ", ".join(path.name for path in matches)
            raise UsageError(
                f"{root}: expected one {pattern}, found {names}",
                remedy="Move the others elsewhere",
            )
        if matches:
            return matches[0]
    return None


def _texts(columns: Mapping[str, Sequence[str | None]]) -> dict[str, pa.Array]:
    return {name: pa.array(values, pa.string()) for name, values in columns.items()}


def _add_unlisted(items: pa.Table, used: pa.ChunkedArray) -> pa.Table:
    listed = set(items.column("item_id").to_pylist())
    unlisted = sorted({item for item in used.to_pylist() if item is not None} - listed)
    added = {name: pa.nulls(len(unlisted), pa.string()) for name in _ITEM_COLUMNS}
    added["item_id"] = pa.array(unlisted, pa.string())
    return pa.concat_tables([items.select(list(_ITEM_COLUMNS)), pa.table(added)])
