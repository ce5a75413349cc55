"""Files as others publish them, turned into interactions and items tables.

Media stay where they are: the items table holds absolute paths.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from crossan.cache_schema.errors import DataError, UsageError
from crossan.common.datasets.tables import pick_columns, read_sequences, read_table, to_milliseconds

__all__ = ["FORMATS", "ImportSource", "read_source"]

_MEDIA_SUFFIXES = {
    "image": (".jpg", ".jpeg", ".png", ".webp"),
    "video": (".mp4", ".webm", ".mkv", ".mov", ".avi"),
    "audio": (".wav", ".mp3", ".flac", ".ogg", ".m4a"),
}
_MEDIA_FOLDERS = {"image": "cover", "video": "video", "audio": "audio"}

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
    """Our column name to theirs."""
    time_unit: str = "ms"


@dataclass(frozen=True, slots=True)
class _Imported:
    interactions: pa.Table
    items: pa.Table


def read_source(source_format: str, source: ImportSource) -> tuple[pa.Table, pa.Table]:
    """Return the interactions and the items of a source; items that only interactions name have no media.

    Raises
    ------
    UsageError
        An unknown format, or files that are not there or not the only ones.
    DataError
        Files that do not hold what their format says.
    """
    if source_format not in FORMATS:
        raise UsageError(f"--format {source_format}: expected one of {', '.join(FORMATS)}")
    if not source.root.exists():
        raise UsageError(f"{source.root}: no such file or folder")
    imported = FORMATS[source_format](source)
    return imported.interactions, _add_unlisted(
        imported.items, imported.interactions.column("item_id")
    )


def _read_microlens(source: ImportSource) -> _Imported:
    rows = _find(source.root, ("*_pairs.csv",))
    if rows is not None:
        interactions = _interactions_from(rows, source)
    else:
        interactions = read_sequences(_the_only(source.root, ("*_pairs.tsv",)))
    titles = _read_titles(_the_only(source.root, ("*_titles.csv", "*_title*.csv")))
    media = {kind: _media_by_id(source.root, kind) for kind in _MEDIA_FOLDERS}
    named = set(titles).union(*media.values()) if any(media.values()) else set(titles)
    known = set(interactions.column("item_id").to_pylist()) | set(titles)
    ids = sorted(named & known | set(titles))
    columns = {
        kind: [media[kind].get(item) for item in ids] for kind in ("image", "video", "audio")
    }
    return _Imported(
        interactions,
        pa.table({"item_id": ids, "title": [titles.get(item) for item in ids], **_texts(columns)}),
    )


def _read_iisan(source: ImportSource) -> _Imported:
    interactions = read_sequences(_the_only(source.root, ("*_users.tsv", "*_pairs.tsv")))
    titles: dict[str, str | None] = {}
    path = _the_only(source.root, ("*_items.tsv",))
    for number, line in enumerate(_lines(path), 1):
        item, tab, title = line.partition("\t")
        if not tab:
            raise DataError(
                f"{path}, line {number}: expected 'item TAB title', found {line[:60]!r}"
            )
        _put_title(titles, item, title, path, number)
    images = _media_by_id(source.root, "image")
    ids = list(titles)
    nothing: list[str | None] = [None] * len(ids)
    columns = {"image": [images.get(item) for item in ids], "video": nothing, "audio": nothing}
    return _Imported(
        interactions,
        pa.table(
            {"item_id": ids, "title": pa.array(titles.values(), pa.string()), **_texts(columns)}
        ),
    )


def _read_mmrec(source: ImportSource) -> _Imported:
    interactions = _interactions_from(
        source.interactions or _the_only(source.root, ("*.inter",)), source
    )
    return _Imported(interactions, _items_from(source.items, source))


def _read_table_source(source: ImportSource) -> _Imported:
    if source.interactions is not None and source.sequences is not None:
        raise UsageError("--interactions and --sequences: give one of them")
    if source.sequences is not None:
        interactions = read_sequences(source.sequences)
    else:
        found = source.interactions or _the_only(
            source.root, tuple(f"interactions{end}" for end in (".parquet", ".csv", ".tsv"))
        )
        interactions = _interactions_from(found, source)
    items = source.items or _find(
        source.root, tuple(f"items{end}" for end in (".parquet", ".csv", ".tsv"))
    )
    return _Imported(interactions, _items_from(items, source))


FORMATS: Mapping[str, Callable[[ImportSource], _Imported]] = {
    "microlens": _read_microlens,
    "iisan": _read_iisan,
    "mmrec": _read_mmrec,
    "table": _read_table_source,
}
"""The formats `crossan data import` reads."""


def _interactions_from(path: Path, source: ImportSource) -> pa.Table:
    wanted = _mapped(_INTERACTION_COLUMNS, source.columns)
    table = pick_columns(read_table(path), path, wanted, required=("user_id", "item_id"))
    times = to_milliseconds(table.column("timestamp"), source.time_unit, path)
    return table.set_column(2, "timestamp", times)


def _items_from(path: Path | None, source: ImportSource) -> pa.Table:
    if path is None:
        return pa.table({name: pa.array([], pa.string()) for name in _ITEM_COLUMNS})
    table = pick_columns(
        read_table(path), path, _mapped(_ITEM_COLUMNS, source.columns), required=("item_id",)
    )
    for place, name in enumerate(table.column_names):
        if name in _MEDIA_FOLDERS:
            paths = [
                None if not value else str((path.parent / value).absolute())
                for value in table.column(name).to_pylist()
            ]
            table = table.set_column(place, name, pa.array(paths, pa.string()))
    return table


def _mapped(
    known: Mapping[str, Sequence[str]], columns: Mapping[str, str]
) -> dict[str, Sequence[str]]:
    return {ours: (columns[ours],) if ours in columns else theirs for ours, theirs in known.items()}


def _read_titles(path: Path) -> dict[str, str | None]:
    """Read MicroLens titles: a header and RFC 4180 quoting, or neither and commas inside titles."""
    lines = _lines(path)
    titles: dict[str, str | None] = {}
    if lines and lines[0].replace('"', "").lower() == "item,title":
        with path.open(encoding="utf-8-sig", newline="") as text:
            for row in list(csv.reader(text))[1:]:
                if row and len(row) != 2:
                    raise DataError(
                        f"{path}: expected item and title, found {len(row)} fields for item {row[0]}"
                    )
                if row:
                    _put_title(titles, row[0], row[1], path, len(titles) + 2)
        return titles
    for number, line in enumerate(lines, 1):
        item, comma, title = line.partition(",")
        if not comma:
            raise DataError(f"{path}, line {number}: expected 'item,title', found {line[:60]!r}")
        _put_title(titles, item, title, path, number)
    return titles


def _put_title(
    titles: dict[str, str | None], item: str, title: str, path: Path, number: int
) -> None:
    if item in titles:
        raise DataError(f"{path}, entry {number}: item {item} was already given on an earlier line")
    titles[item] = title.strip() or None


def _lines(path: Path) -> list[str]:
    try:
        # Not splitlines(): it also splits at characters such as U+2028 that stand inside titles.
        return [
            line.rstrip("\r")
            for line in path.read_text(encoding="utf-8-sig").split("\n")
            if line.rstrip("\r")
        ]
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected UTF-8 text: {error}") from None


def _media_by_id(root: Path, kind: str) -> dict[str, str]:
    folders = (
        [f for f in sorted(root.iterdir()) if f.is_dir() and _MEDIA_FOLDERS[kind] in f.name.lower()]
        if root.is_dir()
        else []
    )
    if kind == "image":
        folders += [f for f in sorted(root.iterdir()) if f.is_dir() and "image" in f.name.lower()]
    found: dict[str, str] = {}
    for file in (file for folder in folders for file in sorted(folder.iterdir())):
        if file.suffix.lower() in _MEDIA_SUFFIXES[kind]:
            found.setdefault(file.stem, str(file.absolute()))
    return found


def _the_only(root: Path, patterns: Sequence[str]) -> Path:
    found = _find(root, patterns)
    if found is None:
        raise UsageError(f"{root}: expected {' or '.join(patterns)}, found none")
    return found


def _find(root: Path, patterns: Sequence[str]) -> Path | None:
    for pattern in patterns:
        found = sorted(root.glob(pattern)) if root.is_dir() else []
        if len(found) > 1:
            names = ", ".join(path.name for path in found)
            raise UsageError(
                f"{root}: expected one {pattern}, found {names}",
                remedy="Move the others elsewhere.",
            )
        if found:
            return found[0]
    return None


def _texts(columns: Mapping[str, Sequence[str | None]]) -> dict[str, pa.Array]:
    return {name: pa.array(values, pa.string()) for name, values in columns.items()}


def _add_unlisted(items: pa.Table, used: pa.ChunkedArray) -> pa.Table:
    listed = set(items.column("item_id").to_pylist())
    unlisted = sorted({item for item in used.to_pylist() if item is not None} - listed)
    added = {name: pa.nulls(len(unlisted), pa.string()) for name in _ITEM_COLUMNS}
    added["item_id"] = pa.array(unlisted, pa.string())
    return pa.concat_tables([items.select(list(_ITEM_COLUMNS)), pa.table(added)])
