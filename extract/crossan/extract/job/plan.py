"""Which items are computed together: a pure function of the item list.

So a shard's bytes never depend on how the work was split or interrupted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from crossan.cache_schema.errors import UsageError
from crossan.extract.job.media_list import Medium

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
        found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text, flags=re.ASCII)
        shard = cls(int(found[1]), int(found[2])) if found else cls(0, 0)
        if not 1 <= shard.number <= shard.count:
            raise UsageError(f"--shard {text}: expected i/n with 1 <= i <= n, for example 3/16")
        return shard

    def take(self, batches: Sequence[Batch]) -> list[Batch]:
        """Return this shard's batches: every ``count``-th one, so that long and short texts spread evenly."""
        return list(batches[self.number - 1 :: self.count])

    def __str__(self) -> str:
        """Return the text that `parse` reads."""
        return f"{self.number}/{self.count}"


def plan_batches(
    media: Sequence[Medium], batch_size: int, text_length: Callable[[str], int] | None = None
) -> list[Batch]:
    """Cut the items of a whole dataset into batches.

    Named media come first, sorted by token length where there are titles, then
    by item id; items without a medium follow in batches of their own, as they
    cost no forward. The order of ``media`` does not matter.

    Parameters
    ----------
    media
        Every item of the dataset, done or not.
    batch_size
        Items per batch; the last batch of either kind may be smaller.
    text_length
        Tokens of a title; None for the other modalities.
    """

    def key(medium: Medium) -> tuple[int, str]:
        has_length = text_length is not None and medium.title is not None
        return (text_length(medium.title) if has_length else 0, medium.item_id)  # type: ignore[misc,arg-type]

    named = sorted((medium for medium in media if medium.is_named), key=key)
    absent = sorted(
        (medium for medium in media if not medium.is_named), key=lambda medium: medium.item_id
    )
    return [
        tuple(group[start : start + batch_size])
        for group in (named, absent)
        for start in range(0, len(group), batch_size)
    ]
