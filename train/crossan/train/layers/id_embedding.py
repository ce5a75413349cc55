r"""A learned vector per catalogue item, and how it follows the item id from run to run.

With :math:`e_i` the item vector of MOMEF (Eq. 6) and :math:`v_i` a free vector
of the same width, the item vector is their sum,

.. math:: z_i = e_i + v_i, \qquad v_i \sim N(0, 0.02^2), \qquad v_i = 0 \text{ where } \phi(i) = 0,

:math:`\phi(i)` being how often item i occurs in the training parts. The paper
has no such term. It is ``model.id_embedding``; with ``model.content`` off,
:math:`z_i = v_i` is SASRec over item ids.

A sum and not a concatenation, for two reasons. The width of all that follows
stays as it is, and the vector of an item that training never saw is exactly its
content: its :math:`v_i` begins at zero, gets no gradient because no batch holds
it, and weight decay leaves zero at zero.

Only the rows of a batch are gathered, but the gradient and the two moments of
AdamW are dense: a step writes all of them, 16 bytes per item and column in
float32, and a checkpoint holds 12. For 20 thousand items of width 64 that is
20 MB; for a million it is 1 GB, which every step moves through memory a few
times, and beyond that this is the bottleneck.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

__all__ = ["ID_ROWS", "IdEmbedding", "carry_rows"]

ID_ROWS = "id_embedding.weight"
"""Name of the rows among the weights of a model."""

_INITIAL_STD = 0.02


class IdEmbedding(nn.Module):
    """One free vector per catalogue item.

    Parameters
    ----------
    is_trained
        Whether an item occurs in any training part, ``(items,)`` bool. The
        vectors of all others begin at zero.
    width
        Width of an item vector.

    Shapes
    ------
    ``rows``: ``(any,)`` catalogue rows; result: ``(any, width)``.
    """

    def __init__(self, is_trained: Tensor, width: int) -> None:
        super().__init__()
        drawn = torch.randn(len(is_trained), width) * _INITIAL_STD
        self.weight = nn.Parameter(drawn.masked_fill(~is_trained.unsqueeze(1), 0.0))

    def forward(self, rows: Tensor) -> Tensor:
        """Return the vectors of the given rows."""
        # Not `self.weight[rows]`: its backward would add the gradients of repeated rows in whatever
        # order threads run (see `crossan.train.objectives.step`).
        return F.embedding(rows, self.weight)


def carry_rows(
    weights: Mapping[str, Tensor],
    old_items: np.ndarray,
    initial: Tensor,
    new_items: np.ndarray,
) -> dict[str, Tensor]:
    """Return the weights of a run with its id rows moved to another catalogue.

    Parameters
    ----------
    weights
        Those of the run, by name.
    old_items
        Item ids of the run's catalogue, ``(old items,)``, sorted.
    initial
        Where the rows of new items begin, ``(new items, width)``. Items that
        nobody had in training in that run begin there too.
    new_items
        Item ids of the other catalogue, ``(new items,)``, sorted.
    """
    rows = weights[ID_ROWS]
    # The position where an item would stand; an item after the last would stand past the end.
    old_rows = np.searchsorted(old_items, new_items).clip(max=len(old_items) - 1)
    vectors = rows[torch.from_numpy(old_rows)]
    is_same_item = torch.from_numpy(old_items[old_rows] == new_items)
    # A row of zeros was never trained: it carries nothing that is worth more than `initial`.
    is_carried = is_same_item & (vectors != 0).any(dim=1)
    carried = torch.where(is_carried.unsqueeze(1), vectors, initial.detach().to(vectors))
    return {**weights, ID_ROWS: carried}
