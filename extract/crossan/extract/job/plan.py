"""Plan which items are computed together.

The plan is a pure function of the item list, so a shard's bytes never depend on
how the work was split or interrupted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from crossan.cache_schema.errors import UsageError
from crossan.common.contents.media_list import Medium

__all__ = ["Batch", "Shard", "plan_batches"]

Batch = tuple[Medium, ...]


@dataclass(frozen=True, slots=True)
class Shard:
    """One batch job's share of the batches, ``number`` counted from 1."""

    number: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read ``"3/16"``.

        Raises
        ------
        UsageError
            Not two whole numbers with 1 <= number <= count.
        """
        match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text, flags=re.ASCII)
        shard = cls(int(match[1]), int(match[2])) if match else cls(0, 0)
        if not 1 <= shard.number <= shard.count:
            raise UsageError(f"--shard {text}: expected i/n with 1 <= i <= n, for example 3/16")
        return shard

    def take(self, batches: Sequence[Batch]) -> list[Batch]:
        """Return this shard's batches, every ``count``-th one."""
        # Not a stretch of them: titles come by length, and the last shard would get all long ones.
        return list(batches[self.number - 1 :: self.count])

    def __str__(self) -> str:
        """Return the text that `parse` reads."""
        return f"{self.number}/{self.count}"


def plan_batches(
    media: Sequence[Medium], batch_size: int, text_length: Callable[[str], int] | None = None
) -> list[Batch]:
    """Cut the items of a whole dataset into batches.

    Named media come first, sorted by token length where they are titles, then
    by item id. Items without a medium follow in batches of their own, because
    they cost no forward. The order of ``media`` does not matter.

    Parameters
    ----------
    media
        Every item of the dataset, done or not.
    batch_size
        Items per batch; the last batch of either kind may be smaller.
    text_length
        Tokens of a title; None for the other modalities.
    """

    # Titles of one length need no padding in a batch. The item id settles ties, on every machine
    # alike.
    def length_and_id(medium: Medium) -> tuple[int, str]:
        if text_length is None or medium.title is None:
            return 0, medium.item_id
        return text_length(medium.title), medium.item_id

    named = sorted((medium for medium in media if medium.is_named), key=length_and_id)
    absent = sorted((medium for medium in media if not medium.is_named), key=length_and_id)
    return [
        tuple(group[start : start + batch_size])
        for group in (named, absent)
        for start in range(0, len(group), batch_size)
    ]
