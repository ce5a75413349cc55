"""The rows of one version, copied by all cores and checked when first touched."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from crossan.cache_schema.errors import StoreIntegrityError
from crossan.cache_schema.layout import CRC_BYTES
from crossan.common.stores.chunks import crc_tail
from crossan.common.stores.file_rows import read_file_rows
from crossan.common.stores.gather import on_all_cores, read_and_sum, take_rows
from crossan.common.stores.index import NOWHERE, StoreIndex
from crossan.common.stores.mapping import ChunkFile, map_chunks
from crossan.common.stores.segments import Segment
from crossan.common.stores.values import fill_rows

__all__ = ["StoredRows"]

_SHOWN_ITEMS = 3


class StoredRows:
    """All chunks of a version, mapped.

    Parameters
    ----------
    path
        Of the store, for messages.
    segments
        Of the version.
    index
        Where each item's row lies.
    presence
        Whether an item has a row, ``(item,)``.

    Raises
    ------
    StoreIntegrityError
        A chunk file is not there or has another size. Names it and its items.
    """

    def __init__(
        self,
        path: Path,
        segments: Sequence[Segment],
        index: StoreIndex,
        presence: npt.NDArray[np.bool_],
    ) -> None:
        self._path, self._index, self._presence = path, index, presence
        self._has_gaps = not bool(presence.all())
        self._chunks = [
            ChunkFile(seg.path, entry, seg.layout)
            for seg in segments
            for entry in seg.record.chunks
        ]
        first_rows = np.cumsum([0, *(chunk.layout.chunk_items for chunk in self._chunks)])
        self._row_of = np.where(presence, first_rows[index.chunk_of] + index.place_of, NOWHERE)
        self._is_checked = np.zeros(len(self._chunks), dtype=bool)
        self._is_all_checked = not self._chunks
        try:
            self._files = map_chunks(self._chunks)
        except StoreIntegrityError as error:
            number = next(
                (
                    n
                    for n, chunk in enumerate(self._chunks)
                    if error.message.startswith(f"{chunk.path}:")
                ),
                0,
            )
            raise self._naming_items(error, number) from error

    @property
    def index_bytes(self) -> int:
        """Memory that finding a row takes."""
        return self._row_of.nbytes

    def gather(
        self, items: npt.NDArray[np.int64], columns: list[int] | None, out: npt.NDArray[Any]
    ) -> None:
        """Copy the stored bits of some items, NaN for those without a row.

        Parameters
        ----------
        items
            ``(n,)`` places in the index.
        columns
            Places among the kept layers, None for all.
        out
            C-contiguous ``(n, layer, dim)`` in the dtype on disk.
        """
        self._check_chunks_of(items)
        tensor = self._files.tensor
        if tensor is None:
            self._gather_scattered(items, columns, out)
        elif columns is None:
            take_rows(tensor, self._row_of[items], out)
        else:
            # Seen as rows of single layers, the store gives some layers by the same plain take.
            _, layer_count, dim = tensor.shape
            places = self._row_of[items][:, None] * layer_count + np.array(columns, dtype=np.int64)
            take_rows(tensor.reshape(-1, dim), places.reshape(-1), out.reshape(-1, dim))
        self._fill_gaps(items, out)

    def gather_unmapped(
        self, items: npt.NDArray[np.int64], columns: list[int] | None, out: npt.NDArray[Any]
    ) -> None:
        """Copy as `gather` does, but from the files.

        No page of the store becomes memory of this process. A mapped row costs more than its
        bytes: the kernel maps what lies around it, up to 2 MiB, and all of it counts as this
        process's memory.
        """
        # Sorted by chunk, so that each file is opened once.
        chunk_of = self._index.chunk_of[items]
        order = np.argsort(chunk_of, kind="stable")
        numbers, starts = np.unique(chunk_of[order], return_index=True)
        bounds = [*starts, len(order)]

        def read(task: int) -> None:
            if numbers[task] != NOWHERE:
                targets = order[bounds[task] : bounds[task + 1]]
                self._read_rows(
                    int(numbers[task]), self._index.place_of[items[targets]], targets, columns, out
                )

        on_all_cores(read, range(len(numbers)))
        self._fill_gaps(items, out)

    def load(self, out: npt.NDArray[Any]) -> None:
        """Copy the rows of all items, each chunk checked on the way.

        ``out`` is ``(item, layer, dim)`` of floats.
        """
        if self._has_gaps:
            out[~self._presence] = np.nan
        # Items without a row sort first: NOWHERE is below every row.
        order = np.argsort(self._row_of, kind="stable")[np.count_nonzero(~self._presence) :]
        numbers, starts = np.unique(self._index.chunk_of[order], return_index=True)
        bounds = [*starts, len(order)]
        on_all_cores(
            lambda task: self._load_chunk(
                int(numbers[task]), order[bounds[task] : bounds[task + 1]], out
            ),
            range(len(numbers)),
        )

    def _load_chunk(self, number: int, items: npt.NDArray[np.int64], out: npt.NDArray[Any]) -> None:
        """Copy the rows of one chunk to the rows ``items`` of ``out``.

        The items come in the order of the rows in the chunk.
        """
        places = self._index.place_of[items]
        is_run = (
            places[0] == 0
            and places[-1] == len(items) - 1
            and items[-1] - items[0] == len(items) - 1
        )
        chunk = self._chunks[number]
        # A run of rows that becomes a run of items needs no scratch memory: read it in one go.
        # Both ascend without repeats, so their ends, and the steps of one, tell that they are runs.
        is_run = is_run and chunk.layout.codec == "raw" and bool((np.diff(items) == 1).all())
        if not is_run or self._read_chunk_file(chunk, out[items[0] : items[-1] + 1]) is None:
            self._read_rows(number, places, items, None, out)

    def _read_rows(
        self,
        number: int,
        places: npt.NDArray[np.int32],
        targets: npt.NDArray[np.int64],
        columns: list[int] | None,
        out: npt.NDArray[Any],
    ) -> None:
        """Copy rows of one chunk from its file, as `read_file_rows` does."""
        chunk = self._chunks[number]
        try:
            descriptor = chunk.open()
        except StoreIntegrityError:
            # A garbage collection took the file since the version was opened; its mapping stays.
            if not self._is_checked[number]:
                self._check(number)
            rows = self._files.chunk(number)[places]
            out[targets] = rows if columns is None else rows[:, columns]
            return
        try:
            if not self._is_checked[number]:
                is_sound = chunk.layout.codec == "raw" and self._sum(chunk, descriptor) is not None
                # What is not sound is looked at again by `_check`, which names what is wrong.
                self._note_checked(number) if is_sound else self._check(number)
            read_file_rows(chunk, descriptor, places, targets, columns, out)
        finally:
            os.close(descriptor)

    def _read_chunk_file(self, chunk: ChunkFile, out: npt.NDArray[Any]) -> int | None:
        """Read a whole raw chunk into ``out`` and return its CRC32C.

        None where the file is gone or holds other bytes than recorded.
        """
        try:
            descriptor = chunk.open()
        except StoreIntegrityError:
            return None
        try:
            return self._sum(chunk, descriptor, out)
        finally:
            os.close(descriptor)

    @staticmethod
    def _sum(chunk: ChunkFile, descriptor: int, out: npt.NDArray[Any] | None = None) -> int | None:
        """Return the CRC32C of a raw chunk's rows.

        None where the recorded one, or that in the file's tail, is another.
        """
        crc = read_and_sum(descriptor, chunk.layout.chunk_bytes, out)
        tail = os.pread(descriptor, CRC_BYTES, chunk.layout.chunk_bytes)
        return crc if crc == chunk.entry.crc32c and tail == crc_tail(crc) else None

    def _fill_gaps(self, items: npt.NDArray[np.int64], out: npt.NDArray[Any]) -> None:
        if self._has_gaps:
            out[~self._presence[items]] = fill_rows(
                (1, 1, 1), "bfloat16" if out.dtype == np.uint16 else str(out.dtype)
            )

    def _gather_scattered(
        self, items: npt.NDArray[np.int64], columns: list[int] | None, out: npt.NDArray[Any]
    ) -> None:
        chunk_of = self._index.chunk_of[items]
        order = np.argsort(chunk_of, kind="stable")
        numbers, starts = np.unique(chunk_of[order], return_index=True)
        for number, start, stop in zip(numbers, starts, [*starts[1:], len(order)], strict=False):
            targets = order[start:stop]
            if number != NOWHERE:
                rows = self._files.chunk(int(number))[self._index.place_of[items[targets]]]
                out[targets] = rows if columns is None else rows[:, columns]

    def _check_chunks_of(self, items: npt.NDArray[np.int64]) -> None:
        if self._is_all_checked:
            return
        numbers = np.unique(self._index.chunk_of[items])
        on_all_cores(
            self._check, [int(n) for n in numbers if n != NOWHERE and not self._is_checked[n]]
        )

    def _check(self, number: int) -> None:
        try:
            self._files.check(number)
        except StoreIntegrityError as error:
            raise self._naming_items(error, number) from error
        self._note_checked(number)

    def _note_checked(self, number: int) -> None:
        self._is_checked[number] = True
        self._is_all_checked = bool(self._is_checked.all())

    def _naming_items(self, error: StoreIntegrityError, number: int) -> StoreIntegrityError:
        items = self._index.item_ids[self._index.chunk_of == number]
        named = f"{len(items):,} items lie in it, first: {', '.join(items[:_SHOWN_ITEMS])}"
        return StoreIntegrityError(
            f"{error.message}\n  {named}",
            remedy=f"Run: crossan cache fsck {self._path}, then crossan-extract --repair",
        )
