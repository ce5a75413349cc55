"""How many streams of events there may be, and their common end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from crossan.cache_schema.errors import ResourceError

__all__ = ["Streams"]


class Streams:
    """The streams of events of one server.

    Used by the thread of the server's loop alone.

    Parameters
    ----------
    most
        Streams at once.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._count = 0
        self._end = asyncio.Event()

    def __len__(self) -> int:
        """Return how many there are."""
        return self._count

    def require_room(self) -> None:
        """Refuse one more stream where there are as many as may be.

        Raises
        ------
        ResourceError
            There are.
        """
        if self._count >= self._most or self._end.is_set():
            raise ResourceError(
                f"events: the server has {self._count} streams, and can have no more",
                remedy="Ask again later, or for the run itself",
            )

    @contextmanager
    def one(self) -> Iterator[None]:
        """Count a stream for as long as the block takes."""
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1

    async def has_ended_within(self, seconds: float) -> bool:
        """Wait, and return whether the server ends."""
        try:
            await asyncio.wait_for(self._end.wait(), seconds)
        except TimeoutError:
            return False
        return True

    def end_all(self) -> None:
        """Have every stream end."""
        self._end.set()
