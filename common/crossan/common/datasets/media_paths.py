"""Paths of media in a column of a table of items: which of them lead to a file."""

from __future__ import annotations

import os
from collections.abc import Container, Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from crossan.cache_schema.errors import DataError
from crossan.cache_schema.item_id import shortened
from crossan.cache_schema.modality import Modality
from crossan.common.datasets.folder import Dataset
from crossan.common.datasets.formats.source import FILE_MODALITIES
from crossan.common.datasets.report import Examples, Join, MediaReading, TableReading

__all__ = ["look_for_paths", "require_some_media"]

_ELSEWHERE = "Where the files lie on another machine: --media-elsewhere"


def look_for_paths(
    items: pa.Table,
    tables: Sequence[TableReading],
    *,
    may_be_missing: Container[Modality] = (),
) -> tuple[MediaReading, ...]:
    """Say which of the paths in a table of items lead to a file.

    Parameters
    ----------
    items
        Items with absolute paths or None.
    tables
        What was read, for the message.
    may_be_missing
        Modalities that are not refused, as their files come from elsewhere.

    Raises
    ------
    DataError
        A modality has paths and none leads to a file.
    """
    readings = []
    for modality in FILE_MODALITIES:
        paths = items.column(modality).to_pylist()
        named = [path for path in paths if path]
        if not named:
            continue
        missing = {path for path in named if not os.path.isfile(path)}  # noqa: PTH113 - a million
        lost = [path for path in named if path in missing]
        if len(lost) == len(named) and modality not in may_be_missing:
            raise _no_file(modality, lost, tables)
        ids = items.column("item_id").to_pylist()
        without = [
            item for item, path in zip(ids, paths, strict=True) if not path or path in missing
        ]
        readings.append(
            MediaReading(
                modality=modality.value,
                source="column",
                files=len(named),
                join=Join(
                    left="items",
                    right=f"{modality.value} files",
                    matched=len(named) - len(lost),
                    unmatched=Examples.of(without),
                ),
                passed_over={"no such file": Examples.of(lost)} if lost else {},
            )
        )
    return tuple(readings)


def require_some_media(dataset: Dataset) -> None:
    """Refuse a dataset with paths of a modality none of which leads to a file.

    Raises
    ------
    DataError
        The message has examples.
    """
    for modality, paths in _named_paths(dataset):
        if paths and not any(path.is_file() for path in paths):
            raise DataError(
                f"{dataset.root}: expected {modality.value} files of its items, "
                f"found none of {len(paths):,}, such as {shortened(str(paths[0]))}",
                remedy=_ELSEWHERE,
            )


def _named_paths(dataset: Dataset) -> Iterator[tuple[Modality, list[Path]]]:
    items = dataset.items()
    for modality in FILE_MODALITIES:
        named = [path for path in items.column(modality.value).to_pylist() if path]
        yield modality, [dataset.media_path(path) for path in named]


def _no_file(modality: Modality, lost: Sequence[str], tables: Sequence[TableReading]) -> DataError:
    reading = next(table for table in tables if modality.value in table.columns)
    return DataError(
        f"{reading.file}, column {reading.columns[modality.value]}: expected paths of "
        f"{modality.value} files, found none of {len(lost):,}"
        f"\n  such as: {Examples.of(lost).listed()}",
        remedy=_ELSEWHERE,
    )
