"""The targets that a user has beside the one that is ranked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from crossan.train.evaluation.metrics import UNREACHABLE
from crossan.train.sequences.splits import CatalogueRows

__all__ = ["OtherTargets"]


@dataclass(frozen=True, slots=True)
class OtherTargets:
    """The targets of every user, to rank several of one user in one list.

    While one of them is ranked the others are left out. Then each is moved down by
    those of its user that score higher.
    """

    users: CatalogueRows
    """User of each target, ``(targets,)``, in order."""
    targets: CatalogueRows
    """Catalogue row of each, ``(targets,)``."""
    counts: CatalogueRows
    """How many targets the user of each has, ``(targets,)``."""

    @classmethod
    def of(cls, users: Tensor, targets: Tensor) -> OtherTargets:
        """Return those of some targets; parameters are as for `ranks_by_counting`."""
        own_users = users.cpu().numpy()
        _, rows, counts = np.unique(own_users, return_inverse=True, return_counts=True)
        return cls(own_users, targets.cpu().numpy(), counts[rows])

    def of_rows(self, rows: Tensor) -> tuple[CatalogueRows, CatalogueRows]:
        """Return a row, counted from 0, and a catalogue row for each other target of some."""
        chosen = rows.cpu().numpy()
        counts = self.counts[chosen]
        several = np.flatnonzero(counts > 1)
        counts = counts[several]
        # All targets of the user of each, one after another: the user's first, then those after.
        first = np.searchsorted(self.users, self.users[chosen[several]])
        own_rows = np.repeat(np.arange(len(several)), counts)
        places = np.arange(len(own_rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        siblings = first[own_rows] + places
        is_other = siblings != chosen[several][own_rows]
        return several[own_rows][is_other], self.targets[siblings[is_other]]

    def put_in_order(self, ranks: Tensor, scores: Tensor) -> Tensor:
        """Return the ranks in one list of all targets of a user.

        Parameters
        ----------
        ranks
            Of each target among the items that are no other target, ``(targets,)``.
        scores
            Of each target, ``(targets,)``.
        """
        if (self.counts == 1).all():
            return ranks
        own_ranks, own_scores = ranks.cpu().numpy().copy(), scores.numpy()
        is_hidden = own_ranks == UNREACHABLE
        # A NaN has counted nothing as lower, not even the targets that were left out.
        own_ranks[np.isnan(own_scores) & ~is_hidden] -= (self.counts - 1)[
            np.isnan(own_scores) & ~is_hidden
        ]
        order = np.lexsort((np.arange(len(own_scores)), -own_scores, is_hidden, self.users))
        places = np.empty_like(own_ranks)
        places[order] = np.arange(len(order)) - np.searchsorted(self.users, self.users[order])
        own_ranks[~is_hidden] += places[~is_hidden]
        return torch.from_numpy(own_ranks).to(ranks.device)
