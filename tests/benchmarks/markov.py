"""The training-free line to beat: which items followed the last ten, nearer ones counting more."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from crossan.common.datasets import KeptSequences
from crossan.common.datasets.protocol import HELD_OUT

__all__ = ["decayed_markov"]

_GAP_DECAY, _AGE_DECAY = 0.8, 0.5
_REACH = 10
"""Steps between two items that still count, and items of the history that are read."""


def decayed_markov(kept: KeptSequences) -> dict[str, dict[str, float]]:
    """Return HR@10 and NDCG@10 of the validation and the test targets.

    The score of item j is the sum over the last ten items i, k steps back, of
    0.5^k times the sum over all places of the training parts at which j follows
    i by g steps of 0.8^(g-1). The history is masked, ties are lost.
    """
    followers = _followers(kept)
    return {
        "valid": _figures(kept, followers, HELD_OUT),
        "test": _figures(kept, followers, HELD_OUT - 1),
    }


def _followers(kept: KeptSequences) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return for every item the items that followed it and their weights."""
    weights: list[dict[int, float]] = [defaultdict(float) for _ in kept.item_ids]
    for user in range(len(kept.user_ids)):
        items = kept.sequence(user)[:-HELD_OUT].tolist()
        for at, item in enumerate(items):
            for gap, follower in enumerate(items[at + 1 : at + 1 + _REACH]):
                weights[item][follower] += _GAP_DECAY**gap
    return [(np.array(list(own), np.int64), np.array(list(own.values()))) for own in weights]


def _figures(
    kept: KeptSequences, followers: list[tuple[np.ndarray, np.ndarray]], held_out: int
) -> dict[str, float]:
    ranks = np.fromiter(_ranks(kept, followers, held_out), np.float64)
    is_hit = ranks <= 10
    return {"hr@10": float(is_hit.mean()), "ndcg@10": float((is_hit / np.log2(ranks + 1)).mean())}


def _ranks(
    kept: KeptSequences, followers: list[tuple[np.ndarray, np.ndarray]], held_out: int
) -> Iterator[int]:
    for user in range(len(kept.user_ids)):
        items = kept.sequence(user)
        history, target = items[:-held_out], items[-held_out]
        scores = np.zeros(len(kept.item_ids))
        for age, item in enumerate(history[::-1][:_REACH]):
            following, weight = followers[item]
            scores[following] += weight * _AGE_DECAY**age
        scores[history] = -1.0
        yield int((scores >= scores[target]).sum())
