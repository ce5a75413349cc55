"""HR@K, NDCG@K and MRR@K of held-out ranks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from crossan.train.settings.run import SelectBy

__all__ = [
    "CUTOFFS",
    "UNREACHABLE",
    "hr_at",
    "mrr_at",
    "ndcg_at",
    "selection_figure",
    "summarise",
]

CUTOFFS = (5, 10, 20, 50)
"""The paper's K are 10 and 20."""
_DIGITS_OF_MMREC = 4
UNREACHABLE = 2**53
"""Rank of a target that its user's history masks, which no cut-off reaches.

It is the largest that a double holds exactly, so it survives JSON and pandas.
"""


def hr_at(ranks: Tensor, k: int, users: Tensor | None = None) -> Tensor:
    r"""Return the hit ratio, which with several targets of a user is the recall.

    .. math:: HR@K = \frac{1}{|U|} \sum_u \frac{1}{|T_u|} \sum_{t \in T_u} [rank_t \le K]

    Parameters
    ----------
    ranks
        1-based rank of each target, ``(targets,)``.
    k
        The cut-off.
    users
        User of each target, ``(targets,)``, those of one user in a row. By default
        each has a user of its own.
    """
    return _UserTargets.of(ranks, users).mean((ranks <= k).double())


def ndcg_at(ranks: Tensor, k: int, users: Tensor | None = None) -> Tensor:
    r"""Return NDCG, whose ideal list begins with all of a user's targets.

    .. math:: NDCG@K = \frac{1}{|U|} \sum_u
       \frac{\sum_{t \in T_u} [rank_t \le K] / \log_2(rank_t + 1)}
       {\sum_{n=1}^{\min(|T_u|, K)} 1 / \log_2(n + 1)}

    Of one target the denominator is 1. Parameters are as for `hr_at`.
    """
    gains = torch.where(ranks <= k, 1.0 / torch.log2(ranks.double() + 1.0), 0.0)
    return _UserTargets.of(ranks, users).mean(gains, ideal_up_to=k)


def mrr_at(ranks: Tensor, k: int, users: Tensor | None = None) -> Tensor:
    r"""Return the mean reciprocal rank of each user's best target, zero beyond ``k``.

    .. math:: MRR@K = \frac{1}{|U|} \sum_u \max_{t \in T_u} \frac{[rank_t \le K]}{rank_t}

    Parameters are as for `hr_at`.
    """
    gains = torch.where(ranks <= k, 1.0 / ranks.double(), 0.0)
    return _UserTargets.of(ranks, users).best(gains).mean()


@dataclass(frozen=True, slots=True)
class _UserTargets:
    """Which targets belong to one user."""

    rows: Tensor
    """Counts users from 0, ``(targets,)``."""
    counts: Tensor
    """Targets of each user, ``(users,)``."""

    @classmethod
    def of(cls, ranks: Tensor, users: Tensor | None) -> _UserTargets:
        users = torch.arange(len(ranks), device=ranks.device) if users is None else users
        _, rows, counts = users.unique_consecutive(return_inverse=True, return_counts=True)
        return cls(rows, counts)

    def mean(self, gains: Tensor, ideal_up_to: int | None = None) -> Tensor:
        """Return the mean over users of their summed gains, each over its largest sum."""
        largest = self.counts.double()
        if ideal_up_to is not None:
            places = torch.arange(1, ideal_up_to + 1, device=gains.device).double()
            largest = (1.0 / torch.log2(places + 1.0)).cumsum(0)[
                self.counts.clamp(max=ideal_up_to) - 1
            ]
        sums = gains.new_zeros(len(self.counts)).index_add_(0, self.rows, gains)
        return (sums / largest).mean()

    def best(self, gains: Tensor) -> Tensor:
        """Return the largest gain of each user, ``(users,)``."""
        return gains.new_zeros(len(self.counts)).scatter_reduce_(0, self.rows, gains, "amax")


_METRICS: dict[str, Callable[[Tensor, int, Tensor | None], Tensor]] = {
    "hr": hr_at,
    "ndcg": ndcg_at,
    "mrr": mrr_at,
}


def summarise(ranks: Tensor, users: Tensor | None = None) -> dict[str, float]:
    """Return every metric at every cut-off as fractions, named ``hr@10`` and so on.

    They are zeros where there is no rank. Parameters are as for `hr_at`.
    """
    return {
        f"{name}@{k}": metric(ranks, k, users).item() if len(ranks) else 0.0
        for name, metric in _METRICS.items()
        for k in CUTOFFS
    }


def selection_figure(valid: Mapping[str, float], select_by: SelectBy) -> float:
    """Return the figure that the best epoch is chosen by, of the metrics of `summarise`."""
    if select_by == "recall@20":
        return round(
            valid["hr@20"], _DIGITS_OF_MMREC
        )  # of one target or several, as `hr_at` has it
    return valid["hr@10"]
