"""Ranks of held-out items over the whole catalogue, by counting, and the best-scored items of every user.

The rank of a target is one more than the number of other items whose score is
at least as high, to rounding: ties count against the target, so a model that
scores everything alike is ranked last, not first. A masked item (the user's
history) counts for nobody; a target that is itself masked is ranked last of all.

Scores are computed a block of users by a block of items at a time, into one
buffer that stays in the processor's cache; nothing is ever sorted.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from crossan.train.settings import HistoryMask

__all__ = ["ranks_by_counting", "top_items"]

_SCORES_PER_BLOCK = {"cpu": 2_500_000, "cuda": 50_000_000}
"""By kind of device. About 10 MB of float32 stay in a processor's cache; an accelerator wants more at a time."""
_LEAST_USERS_PER_BLOCK = 64
"""For fewer users at a time, reading the item vectors costs more than multiplying them."""

_ROUNDING = 4
"""Units of rounding within which scores tie, of the product of the two vectors' lengths: a matmul sums the columns at its
edge in another order than the others, on some processors, so equal vectors can differ by two or three of these."""

Rows = Sequence[np.ndarray]


def ranks_by_counting(
    user_vectors: Tensor,
    item_vectors: Tensor,
    targets: Tensor,
    histories: Rows,
    mask_history: HistoryMask = "all",
) -> Tensor:
    """Rank every user's target among all items; return 1-based ranks, ``(users,)`` int64.

    Parameters
    ----------
    user_vectors, item_vectors
        ``(users, width)`` and ``(items, width)``; their dot product is the score. A NaN score ranks last.
    targets
        Catalogue row of each user's held-out item, ``(users,)``.
    histories
        Catalogue rows of each user's kept items before the target.
    mask_history
        See `HistoryMask`.
    """
    scores = _ScoreBlocks(user_vectors, item_vectors)
    ranks = torch.zeros(len(user_vectors), dtype=torch.int64, device=user_vectors.device)
    # In the order of their targets, so that those of one block of users lie in few blocks of items.
    for users in targets.argsort(stable=True).split(scores.users_per_block) if len(targets) else ():
        masked = _Masked(histories, users, targets, mask_history)
        ranks[users] = len(item_vectors) - _count_lower(scores, users, targets[users], masked)
    return ranks


def top_items(user_vectors: Tensor, item_vectors: Tensor, histories: Rows, count: int) -> Tensor:
    """Return the catalogue rows of each user's best-scored items, best first, ``(users, count)`` int64 on the CPU.

    Items of the user's history are left out; where fewer than ``count`` are
    left, the places at the end hold -1. Of items with equal scores the ones
    that `torch.topk` prefers come first.
    """
    scores = _ScoreBlocks(user_vectors, item_vectors)
    everyone = torch.arange(len(user_vectors), device=user_vectors.device)
    parts = [torch.zeros((0, count), dtype=torch.int64)]
    for users in everyone.split(scores.users_per_block):
        masked, vectors = _Masked(histories, users, None, "all"), scores.vectors(users)
        best = vectors.new_full((len(users), count), float("-inf"))
        rows = torch.full((len(users), count), -1, device=users.device)
        for block in range(scores.block_count):
            found = masked.apply(scores.of(vectors, block), scores.start(block))
            values, places = found.topk(min(count, found.shape[1]), dim=1)
            values, chosen = torch.cat([best, values], dim=1).topk(count, dim=1)
            rows = torch.cat([rows, places + scores.start(block)], dim=1).gather(1, chosen)
            best = values
        parts.append(rows.masked_fill(best == float("-inf"), -1).cpu())
    return torch.cat(parts)


class _ScoreBlocks:
    """The scores of some users and a block of items at a time, in one buffer.

    What `of` returns is overwritten by its next call.
    """

    def __init__(self, user_vectors: Tensor, item_vectors: Tensor) -> None:
        self._users, self._items = user_vectors.detach(), item_vectors.detach()
        size = _SCORES_PER_BLOCK.get(user_vectors.device.type, _SCORES_PER_BLOCK["cpu"])
        self.users_per_block = max(_LEAST_USERS_PER_BLOCK, size // max(len(item_vectors), 1))
        self.items_per_block = min(len(item_vectors), max(1, size // self.users_per_block))
        room = min(self.users_per_block, len(user_vectors)) * self.items_per_block
        self._scores = torch.empty(room, dtype=user_vectors.dtype, device=user_vectors.device)
        self._is_lower = torch.empty(room, dtype=torch.bool, device=user_vectors.device)

    @property
    def block_count(self) -> int:
        """Blocks of items."""
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
        room = self._scores[: len(vectors) * len(items)].view(len(vectors), len(items))
        return torch.matmul(vectors, items.T, out=room)

    def rounding(self, vectors: Tensor, targets: Tensor) -> Tensor:
        """Return how far the score of an item equal to the target may lie below the target's, ``(users,)``."""
        users, items = (
            torch.linalg.vector_norm(of, dim=1) for of in (vectors, self._items[targets])
        )
        rounding: Tensor = _ROUNDING * torch.finfo(vectors.dtype).eps * users * items
        return rounding

    def count_lower(self, scores: Tensor, wanted: Tensor) -> Tensor:
        """Return how many of each user's scores are below the wanted one, ``(users,)`` int64."""
        is_lower = self._is_lower[: scores.numel()].view(scores.shape)
        torch.lt(scores, wanted.unsqueeze(1), out=is_lower)
        return (
            is_lower.view(torch.uint8).sum(dim=1, dtype=torch.int32).long()
        )  # bytes add up ten times as fast as bools


class _Masked:
    """The history items of a block of users that are left out, by item."""

    def __init__(
        self, histories: Rows, users: Tensor, targets: Tensor | None, mask_history: HistoryMask
    ) -> None:
        known = [histories[user] for user in users.tolist()] if mask_history != "none" else []
        rows = np.repeat(
            np.arange(len(known)), np.array([len(items) for items in known], dtype=np.int64)
        )
        items = np.concatenate([np.zeros(0, np.int64), *known])
        is_target = np.zeros(len(items), dtype=bool)
        if targets is not None and len(items):
            is_target = items == targets[users].cpu().numpy()[rows]
        if mask_history == "unseen-only":
            rows, items, is_target = rows[~is_target], items[~is_target], is_target[~is_target]
        order = np.argsort(items, kind="stable")
        self._items, self._rows = items[order], torch.from_numpy(rows[order]).to(users.device)
        self.hidden_targets = torch.from_numpy(np.unique(rows[is_target])).to(users.device)
        """Users of the block, counted from 0, whose target is masked."""

    def apply(self, scores: Tensor, start: int) -> Tensor:
        """Set the masked items of a block, which begins at catalogue row ``start``, to -inf in place."""
        first, last = np.searchsorted(self._items, [start, start + scores.shape[1]])
        places = torch.from_numpy(self._items[first:last] - start).to(scores.device)
        scores[self._rows[first:last], places] = float("-inf")
        return scores


def _count_lower(scores: _ScoreBlocks, users: Tensor, targets: Tensor, masked: _Masked) -> Tensor:
    """Return how many items count as lower than each user's target, masked ones included, ``(users,)`` int64."""
    vectors, size = scores.vectors(users), scores.items_per_block
    wanted, lower = vectors.new_empty(len(users)), torch.zeros_like(targets)
    blocks_of_targets = (targets // size).unique().tolist()
    for block in blocks_of_targets:
        found = scores.of(vectors, block)
        here = (targets // size == block).nonzero().squeeze(1)
        wanted[here] = found[here, targets[here] - scores.start(block)]
    wanted -= scores.rounding(vectors, targets)
    in_buffer = blocks_of_targets[-1:]
    for block in (
        *in_buffer,
        *(other for other in range(scores.block_count) if other not in in_buffer),
    ):
        if block not in in_buffer:
            found = scores.of(vectors, block)
        lower += scores.count_lower(masked.apply(found, scores.start(block)), wanted)
    lower[masked.hidden_targets] = 0
    return lower
