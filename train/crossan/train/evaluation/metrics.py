"""HR@K, NDCG@K and MRR@K of held-out ranks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["CUTOFFS", "UNREACHABLE", "hr_at", "mrr_at", "ndcg_at", "summarise"]

CUTOFFS = (5, 10, 20, 50)
"""The paper's K are 10 and 20."""
UNREACHABLE = 2**53
"""Rank of a target that its user's history masks, which no cut-off reaches.

It is the largest that a double holds exactly, so it survives JSON and pandas.
"""


def hr_at(ranks: Tensor, k: int) -> Tensor:
    r"""Return the hit ratio, the share of 1-based ranks that are at most ``k``.

    .. math:: HR@K = \frac{1}{|U|} \sum_u [rank_u \le K]
    """
    return (ranks <= k).double().mean()


def ndcg_at(ranks: Tensor, k: int) -> Tensor:
    r"""Return NDCG with one relevant item per user.

    .. math:: NDCG@K = \frac{1}{|U|} \sum_u \frac{[rank_u \le K]}{\log_2(rank_u + 1)}
    """
    # The ideal list has its one relevant item at rank 1, where the gain is 1 / log2(2) = 1: there
    # is nothing to divide by.
    return torch.where(ranks <= k, 1.0 / torch.log2(ranks.double() + 1.0), 0.0).mean()


def mrr_at(ranks: Tensor, k: int) -> Tensor:
    r"""Return the mean reciprocal rank, zero beyond ``k``.

    .. math:: MRR@K = \frac{1}{|U|} \sum_u \frac{[rank_u \le K]}{rank_u}
    """
    return torch.where(ranks <= k, 1.0 / ranks.double(), 0.0).mean()


_METRICS: dict[str, Callable[[Tensor, int], Tensor]] = {"hr": hr_at, "ndcg": ndcg_at, "mrr": mrr_at}


def summarise(ranks: Tensor) -> dict[str, float]:
    """Return every metric at every cut-off as fractions, named ``hr@10`` and so on.

    They are zeros where there is no rank.
    """
    return {
        f"{name}@{k}": metric(ranks, k).item() if len(ranks) else 0.0
        for name, metric in _METRICS.items()
        for k in CUTOFFS
    }
