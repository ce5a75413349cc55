"""HR@K and NDCG@K of held-out ranks."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["CUTOFFS", "hr_at", "ndcg_at", "summarise"]

CUTOFFS = (10, 20)
"""The paper's K."""


def hr_at(ranks: Tensor, k: int) -> Tensor:
    r"""Return the hit ratio, the share of 1-based ranks that are at most ``k``.

    .. math:: HR@K = \frac{1}{|U|} \sum_u [rank_u \le K]
    """
    return (ranks <= k).double().mean()


def ndcg_at(ranks: Tensor, k: int) -> Tensor:
    r"""Return NDCG with one relevant item per user.

    .. math:: NDCG@K = \frac{1}{|U|} \sum_u \frac{[rank_u \le K]}{\log_2(rank_u + 1)}
    """
    return torch.where(ranks <= k, 1.0 / torch.log2(ranks.double() + 1.0), 0.0).mean()


def summarise(ranks: Tensor) -> dict[str, float]:
    """Return ``hr@K`` and ``ndcg@K`` at the paper's cut-offs as fractions; zeros where there is no rank."""
    if not len(ranks):
        return {f"{name}@{k}": 0.0 for name in ("hr", "ndcg") for k in CUTOFFS}
    return {f"hr@{k}": hr_at(ranks, k).item() for k in CUTOFFS} | {
        f"ndcg@{k}": ndcg_at(ranks, k).item() for k in CUTOFFS
    }
