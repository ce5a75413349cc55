"""Ranks of held-out items over the whole catalogue, and the best-scored items of every user.

The rank of a target is one more than the number of other items whose score is
at least as high, up to rounding. Ties count against the target, so a model that
scores everything alike is ranked last, not first. A masked item (one of the
user's history) counts as lower than any target; a target that is itself masked
is ranked last of all.

Scores are computed for a block of users and a block of items at a time, in one
buffer that stays in the processor's cache. Ranks need no sorting: the lower
scores are counted.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from crossan.train.settings import HistoryMask

__all__ = ["ranks_by_counting", "top_items"]

_SCORES_PER_BLOCK = {"cpu": 2_500_000, "cuda": 50_000_000}
"""By kind of device.

About 10 MB of float32 stay in a processor's cache; an accelerator is only busy
with more at a time.
"""
_LEAST_USERS_PER_BLOCK = 64
"""For fewer users at a time, reading the item vectors costs more than multiplying them."""

_ROUNDING = 4
"""Units of rounding within which scores tie, relative to the product of the two vectors' lengths.

On some processors a matmul sums the columns at its edge in another order than
the others, so the scores of equal vectors can differ by two or three units.
"""

Histories = Sequence[np.ndarray]
"""Catalogue rows of each user's kept items before the target."""


def ranks_by_counting(
    user_vectors: Tensor,
    item_vectors: Tensor,
    targets: Tensor,
    histories: Histories,
    mask_history: HistoryMask = "all",
) -> Tensor:
    """Return the rank of every user's target among all items, from 1, ``(users,)`` int64.

    Parameters
    ----------
    user_vectors, item_vectors
        ``(users, width)`` and ``(items, width)``; their dot product is the
        score. A NaN score ranks last.
    targets
        Catalogue row of each user's held-out item, ``(users,)``.
    histories
        Catalogue rows of each user's kept items before the target.
    mask_history
        See `HistoryMask`.
    """
    scores = _ScoreBlocks(user_vectors, item_vectors)
    ranks = torch.zeros(len(user_vectors), dtype=torch.int64, device=user_vectors.device)
    if not len(targets):
        return ranks
    # Users in the order of their targets, so that the targets of one block of users are in few
    # blocks of items: each of those has to be scored twice (see `_count_lower`).
    for users in targets.argsort(stable=True).split(scores.users_per_block):
        masked = _MaskedItems(histories, users, targets, mask_history)
        ranks[users] = len(item_vectors) - _count_lower(scores, users, targets[users], masked)
    return ranks


def top_items(
    user_vectors: Tensor, item_vectors: Tensor, histories: Histories, count: int
) -> Tensor:
    """Return each user's best-scored items, best first, ``(users, count)`` int64 on the CPU.

    They are catalogue rows. Items of the user's history are left out; where
    fewer than ``count`` remain, -1 fills the end. Of items with equal scores the
    ones that `torch.topk` prefers come first.
    """
    scores = _ScoreBlocks(user_vectors, item_vectors)
    everyone = torch.arange(len(user_vectors), device=user_vectors.device)
    parts = [torch.zeros((0, count), dtype=torch.int64)]
    for users in everyone.split(scores.users_per_block):
        masked, vectors = _MaskedItems(histories, users, None, "all"), scores.vectors(users)
        best = vectors.new_full((len(users), count), float("-inf"))
        rows = torch.full((len(users), count), -1, device=users.device)
        for block in range(scores.block_count):
            start = scores.start(block)
            block_scores = masked.apply(scores.of(vectors, block), start)
            block_best, columns = block_scores.topk(min(count, block_scores.shape[1]), dim=1)
            # The best so far compete with the best of this block, so no more than two short lists
            # are ever compared.
            best, winners = torch.cat([best, block_best], dim=1).topk(count, dim=1)
            rows = torch.cat([rows, columns + start], dim=1).gather(1, winners)
        parts.append(rows.masked_fill(best == float("-inf"), -1).cpu())
    return torch.cat(parts)


class _ScoreBlocks:
    """The scores of some users and a block of items at a time, in one buffer.

    Each call of `of` overwrites what the call before it returned.
    """

    def __init__(self, user_vectors: Tensor, item_vectors: Tensor) -> None:
        self._users, self._items = user_vectors.detach(), item_vectors.detach()
        most = _SCORES_PER_BLOCK.get(user_vectors.device.type, _SCORES_PER_BLOCK["cpu"])
        # As many users as fit beside the whole catalogue, but never so few that reading the item
        # vectors dominates: then the catalogue is cut instead.
        self.users_per_block = max(_LEAST_USERS_PER_BLOCK, most // max(len(item_vectors), 1))
        self.items_per_block = min(len(item_vectors), max(1, most // self.users_per_block))
        size = min(self.users_per_block, len(user_vectors)) * self.items_per_block
        self._scores = torch.empty(size, dtype=user_vectors.dtype, device=user_vectors.device)
        self._is_lower = torch.empty(size, dtype=torch.bool, device=user_vectors.device)

    @property
    def block_count(self) -> int:
        """Number of blocks of items."""
        return -(-len(self._items) // self.items_per_block)

    def start(self, block: int) -> int:
        """Return the first catalogue row of a block of items."""
        return block * self.items_per_block

    def vectors(self, users: Tensor) -> Tensor:
        """Return the vectors of a block of users."""
        return self._users[users]

    def of(self, vectors: Tensor, block: int) -> Tensor:
        """Return the scores of a block of users and a block of items, ``(users, items)``."""
        items = self._items[self.start(block) : self.start(block + 1)]
        scores = self._scores[: len(vectors) * len(items)].view(len(vectors), len(items))
        return torch.matmul(vectors, items.T, out=scores)

    def rounding(self, vectors: Tensor, targets: Tensor) -> Tensor:
        """Return how far below the target's score an equal item's may be, ``(users,)``."""
        user_lengths = torch.linalg.vector_norm(vectors, dim=1)
        target_lengths = torch.linalg.vector_norm(self._items[targets], dim=1)
        unit = torch.finfo(vectors.dtype).eps
        rounding: Tensor = _ROUNDING * unit * user_lengths * target_lengths
        return rounding

    def count_lower(self, scores: Tensor, thresholds: Tensor) -> Tensor:
        """Return how many of each user's scores are below the threshold, ``(users,)`` int64."""
        is_lower = self._is_lower[: scores.numel()].view(scores.shape)
        torch.lt(scores, thresholds.unsqueeze(1), out=is_lower)
        # As bytes, which add up ten times as fast as bools.
        return is_lower.view(torch.uint8).sum(dim=1, dtype=torch.int32).long()


class _MaskedItems:
    """The history items of a block of users that are left out, sorted by item."""

    def __init__(
        self,
        histories: Histories,
        users: Tensor,
        targets: Tensor | None,
        mask_history: HistoryMask,
    ) -> None:
        known = [histories[user] for user in users.tolist()] if mask_history != "none" else []
        # One entry for each item of each history; `rows` are the users of the block, from 0.
        lengths = np.array([len(history) for history in known], dtype=np.int64)
        rows = np.repeat(np.arange(len(known)), lengths)
        items = np.concatenate([np.zeros(0, np.int64), *known])
        is_target = np.zeros(len(items), dtype=bool)
        if targets is not None and len(items):
            is_target = items == targets[users].cpu().numpy()[rows]
        if mask_history == "unseen-only":
            rows, items, is_target = rows[~is_target], items[~is_target], is_target[~is_target]
        # Sorted by item, so that those of one block of items are a slice.
        order = np.argsort(items, kind="stable")
        self._items, self._rows = items[order], torch.from_numpy(rows[order]).to(users.device)
        self.hidden_targets = torch.from_numpy(np.unique(rows[is_target])).to(users.device)
        """Users of the block, counted from 0, whose target is masked."""

    def apply(self, scores: Tensor, start: int) -> Tensor:
        """Set the masked items of a block to -inf in place and return the scores.

        The block begins at catalogue row ``start``.
        """
        first, last = np.searchsorted(self._items, [start, start + scores.shape[1]])
        columns = torch.from_numpy(self._items[first:last] - start).to(scores.device)
        scores[self._rows[first:last], columns] = float("-inf")
        return scores


def _count_lower(
    scores: _ScoreBlocks, users: Tensor, targets: Tensor, masked: _MaskedItems
) -> Tensor:
    """Return how many items count as lower than each user's target, ``(users,)`` int64.

    Masked items are among them.
    """
    vectors = scores.vectors(users)
    block_of_target = targets // scores.items_per_block
    # The score of a target comes from the same matmul as the others', not from a dot product of
    # its own, which would round in another way: an item equal to the target must tie with it.
    thresholds = vectors.new_empty(len(users))
    target_blocks = block_of_target.unique().tolist()
    for block in target_blocks:
        block_scores = scores.of(vectors, block)
        in_block = (block_of_target == block).nonzero().squeeze(1)
        columns = targets[in_block] - scores.start(block)
        thresholds[in_block] = block_scores[in_block, columns]
    # A score this little below the target's may be a tie that was rounded, which counts against it.
    thresholds -= scores.rounding(vectors, targets)

    # The buffer still holds the last block that was scored for the targets: count that one first,
    # then fill it anew. Where a single block holds the whole catalogue, it is scored only once.
    last_scored = target_blocks[-1]
    lower = scores.count_lower(masked.apply(block_scores, scores.start(last_scored)), thresholds)
    for block in range(scores.block_count):
        if block != last_scored:
            block_scores = masked.apply(scores.of(vectors, block), scores.start(block))
            lower += scores.count_lower(block_scores, thresholds)
    # Every other item counts as at least as high as a target that is masked: its rank is the last.
    lower[masked.hidden_targets] = 0
    return lower
