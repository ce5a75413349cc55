"""The best of a million scores, without a look at most of them."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["best_of"]

_GROUP = 64
"""Scores of which only the highest is looked at first."""


def best_of(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the positions of the highest scores and the scores, the highest first.

    Of equal scores the earlier position comes first. An item among the best lies in a group whose
    highest is among the best of all groups' highest, so the others are never looked at.

    Parameters
    ----------
    scores
        ``(items,)``; minus infinity for what is never returned.
    count
        Positions at most, at least 1.

    Returns
    -------
    tuple[Tensor, Tensor]
        ``(up to count,)`` int64 and ``(up to count,)``.
    """
    group_count = len(scores) // _GROUP
    if group_count > 2 * count:
        in_groups = scores[: group_count * _GROUP].view(group_count, _GROUP)
        # At least `count` scores are as high as this: one of each of the best groups.
        least = in_groups.amax(dim=1).topk(count).values[-1]
        positions = (scores >= least).nonzero()[:, 0]
    else:
        positions = torch.arange(len(scores))
    chosen = scores[positions]
    # Stable, and positions ascend: of equal scores the earlier one stays ahead.
    ordered, order = chosen.sort(descending=True, stable=True)
    is_shown = ordered[:count] > float("-inf")
    return positions[order[:count]][is_shown], ordered[:count][is_shown]
