"""The items of one version.

The index says which segment holds the newest entry of each item, and where its row
is. The newest entry is that of the highest stamp: the one written last, or with
knowledge of the others (see `crossan.common.stores.sharing.lineage`). Among equal
stamps, as those of segments without any, it is the last in the manifest's order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from crossan.cache_schema.modality import ItemStatus
from crossan.common.stores.item_index import STATUSES, read_texts
from crossan.common.stores.segments import Segment

__all__ = ["NOWHERE", "StoreIndex"]

NOWHERE = -1
"""Chunk, and row in the chunk, of an item without a row."""
_DELETED = STATUSES.index(ItemStatus.DELETED)


class StoreIndex:
    """The newest entry of every item, deleted ones left out, sorted by item id.

    Attributes
    ----------
    item_ids
        ``(item,)`` of str.
    deleted_ids
        Items whose newest entry is a tombstone, sorted.
    statuses
        Positions in `STATUSES`, ``(item,)`` of uint8.
    chunk_of
        Number of each item's chunk, counted over all segments, `NOWHERE` for none.
    place_of
        Row within that chunk.
    """

    def __init__(self, segments: Sequence[Segment]) -> None:
        # The segments themselves are not kept. Their ids, statuses and rows are in the arrays
        # below, and would be in memory twice.
        self._data = [segment.items.data for segment in segments]
        self._stamps = [segment.items.stamps for segment in segments]
        everything: npt.NDArray[np.str_] = _joined(
            [segment.items.item_ids for segment in segments], np.str_
        )
        chosen = _newest_of_each(everything, [segment.items.stamps for segment in segments])
        codes = _joined([segment.items.statuses for segment in segments], np.uint8)
        is_deleted = codes[chosen] == _DELETED
        self._deleted = chosen[is_deleted]
        self.deleted_ids: npt.NDArray[np.str_] = everything[self._deleted]
        chosen = chosen[~is_deleted]
        self._chosen = chosen
        # A store of one segment, sorted and without tombstones, needs no copy of its ids.
        is_unchanged = len(chosen) == len(everything) and bool((chosen[1:] > chosen[:-1]).all())
        self.item_ids: npt.NDArray[np.str_] = everything if is_unchanged else everything[chosen]
        self.statuses: npt.NDArray[np.uint8] = codes[chosen]
        self.chunk_of, self.place_of = self._locate(segments)

    @property
    def byte_count(self) -> int:
        """Bytes of memory that the index takes, with the texts that are read on demand."""
        arrays = (self.item_ids, self.statuses, self._chosen, self.chunk_of, self.place_of)
        return sum(array.nbytes for array in arrays) + sum(map(len, self._data))

    def stamps(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the stamps of the newest entries, of `item_ids` and of `deleted_ids`."""
        stamps = _joined(self._stamps, np.int64)
        return stamps[self._chosen], stamps[self._deleted]

    def texts(self, column: str) -> list[str | None]:
        """Return ``content_digest`` or ``reason`` of each item."""
        everything: list[str | None] = []
        for data in self._data:
            everything += read_texts(data, column)
        return [everything[number] for number in self._chosen.tolist()]

    def _locate(
        self, segments: Sequence[Segment]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Return the chunk of each chosen item, and its row within that chunk."""
        chunks, rows_in_chunk, chunk_count = [], [], 0
        for segment in segments:
            chunk, row_in_chunk = np.divmod(segment.items.rows, segment.layout.chunk_items)
            chunk += chunk_count
            has_no_row = segment.items.rows < 0
            chunk[has_no_row] = row_in_chunk[has_no_row] = NOWHERE
            # 32 bits suffice for both, and halve what the index takes in memory.
            chunks.append(chunk.astype(np.int32))
            rows_in_chunk.append(row_in_chunk.astype(np.int32))
            chunk_count += segment.layout.chunk_count
        return (
            _joined(chunks, np.int32)[self._chosen],
            _joined(rows_in_chunk, np.int32)[self._chosen],
        )


def _newest_of_each(
    item_ids: npt.NDArray[np.str_], stamps: Sequence[npt.NDArray[np.int64]]
) -> npt.NDArray[np.int64]:
    """Return the position of the newest occurrence of each id, in the order of the ids.

    Of occurrences with equal stamps the last one counts.
    """
    # Sorted and without a repeat, as in a store of one segment: each id is its only occurrence.
    if (item_ids[1:] > item_ids[:-1]).all():
        return np.arange(len(item_ids))
    bounds = [bound for array in stamps if array.size for bound in (array.min(), array.max())]
    # Mostly each segment is newer as a whole than those before it. A stable sort then leaves the
    # newest occurrence last without a look at a million stamps.
    if bounds == sorted(bounds):
        order = np.argsort(item_ids, kind="stable")
    else:
        order = np.lexsort((_joined(stamps, np.int64), item_ids))
    ordered = item_ids[order]
    # The last of each run of equal ids is the one that no other id of the run follows.
    newest: npt.NDArray[np.int64] = order[np.append(ordered[1:] != ordered[:-1], True)]
    return newest


def _joined(arrays: Sequence[npt.NDArray[Any]], kind: type[np.generic]) -> npt.NDArray[Any]:
    if len(arrays) == 1:
        return arrays[0]
    return np.concatenate(arrays) if arrays else np.array([], dtype=kind)
