"""The distinct users and items of a batch of triples, and a contrastive loss over them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

from crossan.train.layers.log_partition import log_partition

__all__ = ["DistinctRows", "contrast"]


@dataclass(frozen=True, slots=True)
class DistinctRows:
    """The nodes of a batch, each once.

    What is computed of a node is then computed once, and what a sum has of it counts as often as
    the batch has it. Nodes are numbered users first.
    """

    users: Tensor
    """Rows of users, ``(distinct users,)``."""
    items: Tensor
    """Rows of items that are the second or third of a triple, ``(distinct items,)``."""
    user_at: Tensor
    """Place of each triple's user among the nodes, ``(triples,)``."""
    positive_at: Tensor
    """Place of each triple's own item among the nodes, ``(triples,)``."""
    negative_at: Tensor
    """Place of each triple's other item among the nodes, ``(triples,)``."""

    @classmethod
    def of(cls, users: Tensor, items: Tensor, others: Tensor) -> DistinctRows:
        """Return the distinct rows of triples, ``(triples,)`` each."""
        user_rows, user_at = users.unique(return_inverse=True)
        item_rows, item_at = torch.cat([items, others]).unique(return_inverse=True)
        positive_at, negative_at = (item_at + len(user_rows)).split(len(items))
        return cls(user_rows, item_rows, user_at, positive_at, negative_at)

    def nodes(self, user_count: int) -> Tensor:
        """Return the rows of all of them in a table with all users before all items."""
        return torch.cat([self.users, self.items + user_count])

    def of_triples(self, vectors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the vectors of each triple's user, own item and other item.

        Parameters
        ----------
        vectors
            Those of `nodes`, ``(nodes, width)``.
        """
        return (
            F.embedding(self.user_at, vectors),
            F.embedding(self.positive_at, vectors),
            F.embedding(self.negative_at, vectors),
        )

    def user_counts(self) -> tuple[Tensor, Tensor]:
        """Return the places of users, and how many triples each has."""
        return _counted(self.user_at)

    def positive_counts(self) -> tuple[Tensor, Tensor]:
        """Return the places of triples' own items, and how many triples each has."""
        return _counted(self.positive_at)


def _counted(places: Tensor) -> tuple[Tensor, Tensor]:
    distinct, counts = places.unique(return_counts=True)
    return distinct, counts


def contrast(
    anchors: Tensor,
    positives: Tensor,
    counts: Tensor,
    temperature: float,
    candidates: Tensor | None = None,
) -> Tensor:
    r"""Return the contrastive loss of distinct rows, each counted as often as a batch has it.

    With cosines c of anchors and positives it is the mean over the rows r of the batch of
    :math:`-\ln (e^{c_{rr} / t} / \sum_s e^{c_{rs} / t})`.

    Parameters
    ----------
    anchors, positives
        ``(distinct rows, width)`` each.
    counts
        How often the batch has each, ``(distinct rows,)``.
    temperature
        t.
    candidates
        What s runs over, ``(candidates, width)``; None for the positives of the batch.
    """
    anchors = F.normalize(anchors) / temperature
    positives = F.normalize(positives)
    times = counts.to(anchors.dtype)
    shares = times / times.sum()
    own = shares @ torch.linalg.vecdot(anchors, positives)
    if candidates is None:
        far = log_partition(anchors.unsqueeze(0), positives, shares, times)
    else:
        ones = torch.ones_like(candidates[:, 0])
        far = log_partition(anchors.unsqueeze(0), F.normalize(candidates), shares, ones)
    loss: Tensor = far - own
    return loss
