"""List the media of one modality that a dataset names, one per item."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from crossan.cache_schema.errors import DataError
from crossan.cache_schema.item_id import id_fault
from crossan.cache_schema.modality import Modality

if TYPE_CHECKING:
    import pyarrow as pa

    from crossan.common.datasets import Dataset

__all__ = ["Medium", "media_names", "read_media"]


@dataclass(frozen=True, slots=True)
class Medium:
    """What one item has of one modality, a title or a file or neither."""

    item_id: str
    title: str | None = None
    path: Path | None = None

    @property
    def is_named(self) -> bool:
        """Whether the dataset gives the item a title or a path at all."""
        return self.title is not None or self.path is not None


def read_media(dataset: Dataset, modality: Modality) -> list[Medium]:
    """Return one `Medium` per item of the dataset, sorted by item id.

    Raises
    ------
    DataError
        The items table is empty, repeats an item id, or has one that no store can hold.
    """
    table = dataset.items()
    item_ids = [str(item_id) for item_id in _column(table, "item_id")]
    _check_ids(item_ids, dataset)
    named = zip(item_ids, media_names(table, modality), strict=True)
    if modality is Modality.TEXT:
        media = [Medium(item_id, title=title) for item_id, title in named]
    else:
        media = [
            Medium(item_id, path=None if path is None else dataset.media_path(path))
            for item_id, path in named
        ]
    return sorted(media, key=lambda medium: medium.item_id)


def media_names(table: pa.Table, modality: Modality) -> list[str | None]:
    """Return the title of each item, or the path of its file, None where it has neither.

    An item whose audio is null is heard through its video. A title without a
    visible character counts as none.

    Parameters
    ----------
    table
        Items of a dataset, as `Dataset.items` gives them.
    modality
        What is read of them.
    """
    names = _column(table, "title" if modality is Modality.TEXT else modality.value)
    if modality is Modality.TEXT:
        return [title if title and title.strip() else None for title in names]
    if modality is Modality.AUDIO:
        videos = _column(table, Modality.VIDEO.value)
        names = [path or video for path, video in zip(names, videos, strict=True)]
    return [path or None for path in names]


def _column(table: pa.Table, name: str) -> list[str | None]:
    values: list[str | None] = table.column(name).to_pylist()
    return values


def _check_ids(item_ids: list[str], dataset: Dataset) -> None:
    remedy = f"crossan data check {dataset.root}"
    if not item_ids:
        raise DataError(
            f"dataset {dataset.root}: items.parquet lists no item, there is nothing to extract",
            remedy=remedy,
        )
    # A store refuses such ids too, but only when their rows are written.
    fault = next(filter(None, (id_fault(item_id, "item ids") for item_id in item_ids)), None)
    if fault is not None:
        raise DataError(f"dataset {dataset.root}: {fault}", remedy=remedy)
    repeated = [item_id for item_id, count in Counter(item_ids).items() if count > 1]
    if repeated:
        raise DataError(
            f"dataset {dataset.root}: "
            f"items.parquet repeats {len(repeated):,} item ids, first: {repeated[0]}",
            remedy=remedy,
        )
