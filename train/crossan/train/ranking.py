"""Ranks of held-out items over the whole catalogue, by counting.

The rank of a target is one more than the number of other items whose score is
at least as high: ties count against the target, so a model that scores
everything alike is ranked last, not first. A masked item (the user's history)
counts for nobody; a target that is itself masked is ranked last of all.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from crossan.train.settings import HistoryMask

__all__ = ["held_out_rank", "ranks_by_counting"]

_SCORES_PER_BLOCK = 2_500_000
"""About 10 MB of float32: a block stays in cache."""


def held_out_rank(scores: Tensor, target: Tensor) -> Tensor:
    """Return 1-based ranks, ties against the target, of ``target`` in ``scores``.

    Shapes: ``scores`` ``(users, items)``; ``target`` ``(users,)`` int64; result
    ``(users,)`` int64. A score of -inf masks an item.
    """
    wanted = scores.gather(1, target.unsqueeze(1))
    # "Not lower", so that a NaN score ranks last; the target counts itself, which is the one in "one more".
    return (~(scores < wanted)).sum(dim=1)


def ranks_by_counting(
    user_vectors: Tensor,
    item_vectors: Tensor,
    targets: Tensor,
    histories: Sequence[np.ndarray],
    mask_history: HistoryMask = "all",
) -> Tensor:
    """Rank every user's target among all items, a block of users at a time.

    Parameters
    ----------
    user_vectors, item_vectors
        ``(users, width)`` and ``(items, width)``; their dot product is the score.
    targets
        Catalogue row of each user's held-out item, ``(users,)``.
    histories
        Catalogue rows of each user's kept items before the target.
    mask_history
        See `HistoryMask`.
    """
    block = max(1, _SCORES_PER_BLOCK // len(item_vectors))
    ranks = [
        held_out_rank(
            _mask(user_vectors[start : start + block] @ item_vectors.T, targets, histories, start, mask_history),
            targets[start : start + block],
        )
        for start in range(0, len(user_vectors), block)
    ]
    return torch.cat(ranks) if ranks else torch.zeros(0, dtype=torch.int64)


def _mask(
    scores: Tensor, targets: Tensor, histories: Sequence[np.ndarray], start: int, mask_history: HistoryMask
) -> Tensor:
    if mask_history == "none":
        return scores
    kept = scores.gather(1, targets[start : start + len(scores)].unsqueeze(1))
    lengths = [len(histories[start + user]) for user in range(len(scores))]
    users = torch.from_numpy(np.repeat(np.arange(len(scores)), lengths)).to(scores.device)
    items = torch.from_numpy(np.concatenate(histories[start : start + len(scores)])).to(scores.device)
    scores[users, items] = float("-inf")
    if mask_history == "unseen-only":
        scores.scatter_(1, targets[start : start + len(scores)].unsqueeze(1), kept)
    return scores
