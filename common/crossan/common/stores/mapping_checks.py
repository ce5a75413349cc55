"""Which mapped chunks are still what was checked of them."""

from __future__ import annotations

from collections.abc import Sequence

from crossan.common.stores.chunk_file import ChunkFile, FileState
from crossan.common.stores.mapping import Rows

__all__ = ["MappingChecks"]


class MappingChecks:
    """What each file was when its bytes were compared with the record.

    A mapping shows what its file holds now, which a check in the past says nothing
    of. So the state of a file is looked at before its rows are copied and after it:
    whoever writes to a file changes its times, and whoever cuts or replaces it more.

    Parameters
    ----------
    chunks
        Of the version.
    rows
        Their mapping.
    """

    def __init__(self, chunks: Sequence[ChunkFile], rows: Rows) -> None:
        self._chunks, self._rows = chunks, rows
        self._checked: list[FileState | None] = [None] * len(chunks)
        self._latest: list[FileState | None] = [None] * len(chunks)

    def changed(self, numbers: Sequence[int]) -> list[int]:
        """Return those of some chunks whose files must be checked before they are copied."""
        return [n for n in numbers if not self._chunks[n].is_still(self._checked[n])]

    def are_unchanged(self, numbers: Sequence[int]) -> bool:
        """Whether the files of some chunks are, after the copying, what they were before it."""
        return all(self._chunks[number].is_still(self._latest[number]) for number in numbers)

    def check(self, number: int) -> None:
        """Compare a chunk with its record, if its file is the mapped one.

        Raises
        ------
        StoreIntegrityError
            They differ.
        """
        self._checked[number] = self._latest[number] = None
        state = self._chunks[number].state()  # before the bytes are read
        if state is None or state.file != self._rows.states[number].file:
            return
        if self._rows.check(number):
            self._latest[number] = state
            if state.is_settled:
                self._checked[number] = state

    def replaced(self, numbers: Sequence[int]) -> bool:
        """Whether one of the chunks that were just checked has not its mapped file any more."""
        return any(self._latest[number] is None for number in numbers)
