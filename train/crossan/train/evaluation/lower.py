"""How many items count as lower than a target, with all scores at hand or few of them.

Both ways count the same items. `DenseCounter` compares every score, a block of
users and a block of items at a time. `SparseCounter` is for scores that all
users share but for a few items: it looks up the target's place among the shared
scores and goes on from there with the few.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from crossan.train.evaluation.masking import Masked
from crossan.train.evaluation.ranker import Ranker, RanksSparsely, gains_at
from crossan.train.sequences.splits import CatalogueRows

__all__ = ["Blocks", "Counted", "DenseCounter", "LowerCounter", "SparseCounter", "counter_for"]

_SCORES_PER_BLOCK = {"cpu": 2**20, "cuda": 50_000_000}
"""By kind of device.

4 MB of float32 stay in a processor's cache; an accelerator is only busy with more at a time.
"""
_LEAST_USERS_PER_BLOCK = 512
"""For fewer users at a time, where there are more, reading the item vectors costs more than
multiplying them: 512 by 2,048 takes a third less than 130 by 19,099."""
_USERS_AT_ONCE = 1024
"""Users whose few scores are held at a time."""


@dataclass(frozen=True, slots=True)
class Counted:
    """What is known of the targets of one block."""

    lower: Tensor
    """How many items count as lower than each target, masked ones among them, int64."""
    target_scores: Tensor
    """Score of each target."""


class LowerCounter(Protocol):
    """Counts what is lower than targets."""

    @property
    def users_at_once(self) -> int:
        """Targets that are counted for at a time at most."""

    def count(self, users: Tensor, targets: Tensor, masked: Masked) -> Counted:
        """Count for each of some users the items that are lower than a target.

        Parameters
        ----------
        users, targets
            Some users and a catalogue row for each of them, both ``(rows,)``.
        masked
            Items that count as lower than any target, by row.
        """


def counter_for(ranker: Ranker) -> LowerCounter:
    """Return the quickest counter that a ranker has what it takes for."""
    return SparseCounter(ranker) if isinstance(ranker, RanksSparsely) else DenseCounter(ranker)


@dataclass(frozen=True, slots=True)
class Blocks:
    """How many users and items are scored at a time."""

    users_at_once: int
    items_at_once: int
    item_count: int

    @classmethod
    def of(cls, ranker: Ranker) -> Blocks:
        """Cut so that a block's scores stay in the cache of the ranker's device."""
        size = _SCORES_PER_BLOCK.get(ranker.device.type, _SCORES_PER_BLOCK["cpu"])
        least = min(_LEAST_USERS_PER_BLOCK, max(ranker.user_count, 1))
        users_at_once = max(least, size // max(ranker.item_count, 1))
        items_at_once = min(ranker.item_count, max(1, size // users_at_once))
        return cls(users_at_once, items_at_once, ranker.item_count)

    def ranges(self) -> list[slice]:
        """Return the ranges of catalogue rows, in order."""
        starts = range(0, self.item_count, max(self.items_at_once, 1))
        return [slice(start, min(start + self.items_at_once, self.item_count)) for start in starts]


class DenseCounter:
    """Compare the scores of all items, whatever the ranker.

    Parameters
    ----------
    ranker
        The users' scores.
    """

    def __init__(self, ranker: Ranker) -> None:
        self._ranker, self._blocks = ranker, Blocks.of(ranker)
        self._ranges = self._blocks.ranges()
        # Room for one block's comparisons.
        self._is_lower = torch.empty(0, dtype=torch.bool, device=ranker.device)

    @property
    def users_at_once(self) -> int:
        """Targets whose scores stay in the cache."""
        return self._blocks.users_at_once

    def count(self, users: Tensor, targets: Tensor, masked: Masked) -> Counted:
        """Count for each of some users the items that are lower than a target."""
        ranges = self._ranges
        if self._is_lower.numel() < len(users) * self._blocks.items_at_once:
            self._is_lower = self._is_lower.new_empty(len(users) * self._blocks.items_at_once)
        block_of_target = targets // self._blocks.items_at_once
        with_targets = block_of_target.unique().tolist()
        # A target's score comes out of the same block as those of other items, not from a product
        # of its own, which would round otherwise: an item equal to the target must tie with it.
        target_scores: Tensor | None = None
        for block in with_targets:
            block_scores = self._ranker.scores(users, ranges[block])
            if target_scores is None:
                target_scores = block_scores.new_empty(len(users))
            inside = (block_of_target == block).nonzero().squeeze(1)
            columns = targets[inside] - ranges[block].start
            target_scores[inside] = block_scores[inside, columns]
        assert target_scores is not None  # every user has a target, so some block held one
        # A score this little below the target's may be a tie that was rounded: it counts against it.
        least = target_scores - self._ranker.rounding(users, targets)
        lower = torch.zeros_like(targets)
        # The ranker still holds the block that was scored last: count that one first, before the
        # others overwrite it.
        last_scored = with_targets[-1]
        for block in (
            last_scored,
            *(other for other in range(len(ranges)) if other != last_scored),
        ):
            if block != last_scored:
                block_scores = self._ranker.scores(users, ranges[block])
            masked.apply(block_scores, ranges[block].start)
            comparison = self._is_lower[: block_scores.numel()].view(block_scores.shape)
            torch.lt(block_scores, least.unsqueeze(1), out=comparison)
            # Bytes add up ten times as fast as bools.
            lower += comparison.view(torch.uint8).sum(dim=1, dtype=torch.int32).long()
        return Counted(lower, target_scores)


class SparseCounter:
    """Compare the scores that all users share by their order, and the others one by one.

    Parameters
    ----------
    ranker
        What all users share, and what each gains.
    """

    users_at_once = _USERS_AT_ONCE

    def __init__(self, ranker: RanksSparsely) -> None:
        self._ranker = ranker
        self._base = ranker.base_scores().numpy(force=True)
        self._sorted_base = np.sort(self._base)  # with NaN last, which is lower than nothing

    def count(self, users: Tensor, targets: Tensor, masked: Masked) -> Counted:
        """Count for each of some users the items that are lower than a target."""
        base, gains = self._base, self._ranker.gains_after(users)
        rounding = self._ranker.rounding(users, targets).numpy(force=True)
        rows, items = np.arange(len(users)), targets.numpy(force=True)
        target_scores = base[items] + gains_at(gains, rows, items).astype(base.dtype)
        with np.errstate(invalid="ignore"):  # of infinity it is NaN, which nothing is lower than
            least = target_scores - rounding
        # First as if nobody gained anything and nothing were masked.
        lower = np.searchsorted(self._sorted_base, least).astype(np.int64)
        lower += self._change_by_gains(gains, least)
        rows, items = masked.pairs(self._ranker.item_count)
        scores = base[items] + gains_at(gains, rows, items).astype(base.dtype)
        fallen = (-np.inf < least[rows]).astype(np.int64) - (scores < least[rows])
        np.add.at(lower, rows, fallen)
        lower[np.isnan(least)] = 0
        device = users.device
        return Counted(
            torch.from_numpy(lower).to(device), torch.from_numpy(target_scores).to(device)
        )

    def _change_by_gains(self, gains: sparse.csr_array, least: np.ndarray) -> CatalogueRows:
        """Return how many more items are below what is least, for their gains, ``(rows,)``."""
        shared, own_least = self._base[gains.indices], np.repeat(least, np.diff(gains.indptr))
        was_lower = shared < own_least
        is_lower = shared + gains.data.astype(shared.dtype) < own_least
        change = is_lower.view(np.int8) - was_lower.view(np.int8)
        so_far = np.concatenate([[0], np.cumsum(change, dtype=np.int64)])
        sums: CatalogueRows = so_far[gains.indptr[1:]] - so_far[gains.indptr[:-1]]
        return sums
