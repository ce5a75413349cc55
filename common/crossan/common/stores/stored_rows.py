"""The rows of one version, copied by all cores from what was compared with its record."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from crossan.cache_schema.errors import StoreIntegrityError
from crossan.common.stores.chunk_file import ChunkFile, FileState, MissingChunkError
from crossan.common.stores.file_rows import RowSums, load_file_rows, read_checked, read_file_rows
from crossan.common.stores.gather import on_all_cores, take_rows
from crossan.common.stores.index import NOWHERE, StoreIndex
from crossan.common.stores.mapping import map_chunks
from crossan.common.stores.mapping_checks import MappingChecks
from crossan.common.stores.segments import Segment
from crossan.common.stores.values import fill_rows

__all__ = ["StoredRows"]

_SHOWN_ITEMS = 3
_LOOKS = 3
"""Times that rows are read while their file changes under the reading."""


class StoredRows:
    """All chunks of a version, mapped.

    Rows are copied from the mapping where each file is what it was when it was checked, which
    `MappingChecks` looks at around the copying. Rows read from the files are compared one by one
    with what was checked, see `RowSums`.

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
        self._sums: list[RowSums | None] = [None] * len(self._chunks)
        self._rechecked: list[FileState | None] = [None] * len(self._chunks)
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
        self._checks = MappingChecks(self._chunks, self._files)
        first_rows = np.append(self._files.first_rows, 0)  # the last for NOWHERE, not used
        self._row_of = np.where(presence, first_rows[index.chunk_of] + index.place_of, NOWHERE)

    @property
    def index_bytes(self) -> int:
        """Memory that finding a row takes, and the sum of each."""
        rows = sum(chunk.layout.chunk_items for chunk in self._chunks)
        return self._row_of.nbytes + rows * np.dtype(np.uint32).itemsize

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
        numbers = self._chunks_of(items)
        # A file that is not the mapped one any more, or that changes while its rows are copied, is
        # read as a file: touching the mapping of one that was cut short would end the process.
        if self._is_sound(numbers):
            self._gather_mapped(items, columns, out)
            if self._checks.are_unchanged(numbers):
                self._fill_gaps(items, out)
                return
        self.gather_unmapped(items, columns, out)

    def _gather_mapped(
        self, items: npt.NDArray[np.int64], columns: list[int] | None, out: npt.NDArray[Any]
    ) -> None:
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
        chunk, places = self._chunks[number], self._index.place_of[items]
        try:
            with self._naming(number), chunk.opened() as descriptor:
                load_file_rows(chunk, descriptor, places, items, out)
        except MissingChunkError:
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
        with self._naming(number):
            for _ in range(_LOOKS):
                with self._opened(number, places) as descriptor:
                    sums = self._sums[number]
                    if sums is None and chunk.layout.codec == "raw":
                        sums = self._sums[number] = RowSums(chunk, descriptor)
                    if read_file_rows(chunk, descriptor, places, targets, columns, out, sums):
                        return
                    # This says what is wrong, unless somebody has put the right bytes back.
                    read_checked(chunk, descriptor)
            raise StoreIntegrityError(
                f"{chunk.path}: expected a file that does not change, found other bytes at each look"
            )

    @contextmanager
    def _opened(self, number: int, places: npt.NDArray[np.int32]) -> Iterator[int]:
        """Open a chunk's file for the block, or a copy of its mapping where the file is gone.

        A garbage collection may have taken it since the version was opened; its mapping stays.
        """
        chunk = self._chunks[number]
        try:
            with chunk.opened() as descriptor:
                yield descriptor
                return
        except MissingChunkError:
            is_known = self._sums[number] is not None
            copy = self._files.copy(number, places.tolist() if is_known else None)
        try:
            yield copy
        finally:
            os.close(copy)

    def recheck(self, *, is_changed_only: bool = False) -> Iterator[int]:
        """Compare every chunk with its record, yielding the bytes of one after the other.

        With ``is_changed_only`` only those whose files have changed since they were compared so. A
        chunk whose file was collected is left out: its rows are compared when they are read.
        """
        for number, chunk in enumerate(self._chunks):
            state = chunk.state()
            if state is None or (is_changed_only and state == self._rechecked[number]):
                continue
            with self._naming(number), suppress(MissingChunkError), chunk.opened() as descriptor:
                read_checked(chunk, descriptor)
            self._rechecked[number] = state
            yield chunk.entry.size

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

    def _chunks_of(self, items: npt.NDArray[np.int64]) -> list[int]:
        """Return the numbers of the chunks that hold rows of some items."""
        is_touched = np.zeros(len(self._chunks) + 1, dtype=bool)
        # NOWHERE is the one after the last. `take`: indexing is slower.
        is_touched[self._index.chunk_of.take(items)] = True
        return np.flatnonzero(is_touched[:-1]).tolist()

    def _is_sound(self, numbers: Sequence[int]) -> bool:
        """Whether the mapping of some chunks is what was checked.

        Those that changed are checked.
        """

        def check(number: int) -> None:
            with self._naming(number):
                self._checks.check(number)

        changed = self._checks.changed(numbers)
        on_all_cores(check, changed)
        return not changed or not self._checks.replaced(changed)

    @contextmanager
    def _naming(self, number: int) -> Iterator[None]:
        """Add the items of a chunk, and what mends it, to an error of the block."""
        try:
            yield
        except MissingChunkError:
            raise
        except StoreIntegrityError as error:
            raise self._naming_items(error, number) from error

    def _naming_items(self, error: StoreIntegrityError, number: int) -> StoreIntegrityError:
        items = self._index.item_ids[self._index.chunk_of == number]
        named = f"{len(items):,} items lie in it, first: {', '.join(items[:_SHOWN_ITEMS])}"
        return StoreIntegrityError(
            f"{error.message}\n  {named}",
            remedy=f"Run: crossan cache fsck {self._path}, then crossan-extract --repair",
        )
