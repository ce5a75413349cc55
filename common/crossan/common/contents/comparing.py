"""Whether a store's rows were made from what the items of a dataset contain now.

A store records the content digest of every item. An item whose medium has
another one today is *stale*: its hidden states are those of something else, of
an earlier title or of another dataset's item with the same id.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from crossan.cache_schema.modality import ItemStatus, Modality
from crossan.common.contents.digests import file_digests, text_digest
from crossan.common.contents.media_list import media_names

if TYPE_CHECKING:
    from crossan.common.datasets import Dataset
    from crossan.common.stores import FeatureStore

__all__ = ["NOT_HERE", "Comparison", "compare_contents", "compare_digests", "is_foreign"]

NOT_HERE = "not here"
"""Stands for the digest of a file that cannot be read on this machine."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a comparison of some items with a store has shown.

    Ids are in the order of the items.
    """

    item_count: int
    stale: tuple[str, ...] = ()
    """Items whose content is not the one that the store's row was made from."""
    not_here: tuple[str, ...] = ()
    """Items whose file cannot be read on this machine, which are not compared."""
    unrecorded: tuple[str, ...] = ()
    """Items whose content the store does not record, which are not compared either."""

    @property
    def compared(self) -> int:
        """Number of items that were compared."""
        return self.item_count - len(self.not_here) - len(self.unrecorded)

    @property
    def is_foreign(self) -> bool:
        """Whether the store seems to be that of another dataset."""
        return is_foreign(len(self.stale), self.compared)


def is_foreign(stale_count: int, compared_count: int) -> bool:
    """Whether more of the compared items are stale than not."""
    return stale_count > compared_count - stale_count


def compare_contents(
    dataset: Dataset, item_ids: npt.NDArray[np.str_], store: FeatureStore
) -> Comparison:
    """Compare what some items contain with what a store records of them.

    Titles are hashed. Of media files those are hashed that have changed since
    this machine last hashed them.

    Parameters
    ----------
    dataset
        Names the media.
    item_ids
        The items, ``(items,)``, each in the dataset and in the store.
    store
        Of any modality.
    """
    rows = np.searchsorted(store.item_ids, item_ids)
    every_digest = store.content_digests
    recorded = [every_digest[row] for row in rows]
    has_row = store.presence[rows]
    if has_row.any() and not any(np.array(recorded, dtype=object)[has_row]):
        # Imported hidden states: nobody knows what they were made from.
        return Comparison(len(item_ids), unrecorded=tuple(item_ids.tolist()))
    modality = store.identity.modality
    names = _names_of(dataset, item_ids, modality)
    is_unhashable = _unhashable(store, rows, recorded)
    contents = _digests(dataset, names, modality, is_unhashable)
    return compare_digests(item_ids.tolist(), contents, recorded, has_row.tolist())


def compare_digests(
    item_ids: Sequence[str],
    contents: Sequence[str | None],
    recorded: Sequence[str | None],
    has_row: Sequence[bool],
) -> Comparison:
    """Compare content digests, all in the order of the items.

    Parameters
    ----------
    item_ids
        Names of the items.
    contents
        Digest of what each contains: None where it has no medium, `NOT_HERE` where there is one
        that cannot be read.
    recorded
        Digest that the store records: None where it met no medium, or met one elsewhere.
    has_row
        Whether the store has hidden states of the item.
    """
    stale, not_here, unrecorded = [], [], []
    for item_id, content, digest, is_present in zip(
        item_ids, contents, recorded, has_row, strict=True
    ):
        if is_present and digest is None:
            unrecorded.append(item_id)
        elif content == NOT_HERE and digest is not None:
            not_here.append(item_id)
        elif content == NOT_HERE or (content is None and not is_present):
            continue  # The store has no row of it, and there is nothing to make one from.
        elif content != digest:
            stale.append(item_id)
    return Comparison(len(item_ids), tuple(stale), tuple(not_here), tuple(unrecorded))


def _names_of(
    dataset: Dataset, item_ids: npt.NDArray[np.str_], modality: Modality
) -> list[str | None]:
    """Return the title or path of each item."""
    table = dataset.items()
    names = dict(
        zip(table.column("item_id").to_pylist(), media_names(table, modality), strict=True)
    )
    return [names.get(item_id) for item_id in item_ids.tolist()]


def _unhashable(
    store: FeatureStore, rows: npt.NDArray[np.int64], recorded: Sequence[str | None]
) -> list[bool]:
    """Return which items were quarantined without a digest, as their files could not be hashed."""
    has_none = np.array([digest is None for digest in recorded], dtype=bool)
    if (store.presence[rows] | ~has_none).all():
        return [False] * len(rows)
    is_unhashable = has_none & (store.status[rows] == ItemStatus.QUARANTINED.value)
    return list(is_unhashable.tolist())


def _digests(
    dataset: Dataset,
    names: Sequence[str | None],
    modality: Modality,
    is_unhashable: Iterable[bool],
) -> list[str | None]:
    """Return the content digest behind each name, None for none."""
    if modality is Modality.TEXT:
        return [None if name is None else text_digest(name) for name in names]
    paths = {
        name: dataset.media_path(name)
        for name, is_left_out in zip(names, is_unhashable, strict=True)
        if name is not None and not is_left_out
    }
    digests = dict(
        zip(paths, file_digests(list(paths.values()), f"compare {modality.value}"), strict=True)
    )
    return [None if name is None else digests.get(name) or NOT_HERE for name in names]
