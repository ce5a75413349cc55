r"""A learned vector per catalogue item.

With :math:`e_i` the item vector of MOMEF (Eq. 6) and :math:`v_i` a free vector
of the same width, the item vector is their sum,

.. math:: z_i = e_i + v_i, \qquad v_i \sim N(0, 0.02^2), \qquad v_i = 0 \text{ where } \phi(i) = 0,

:math:`\phi(i)` being how often item i occurs in the training parts. The paper
has no such term. It is ``model.id_embedding``; alone, :math:`z_i = v_i`, it is
SASRec over item ids.

A sum and not a concatenation, for two reasons. The width of all that follows
stays as it is, and the vector of an item that training never saw is exactly its
content: its :math:`v_i` begins at zero, gets no gradient because no batch holds
it, and weight decay leaves zero at zero.

With ``model.id_dropout`` a step leaves out :math:`v_i` of whole items, each with that
probability, so that :math:`e_i` alone must do for them, as it must for an item that
training never saw (DropoutNet, Volkovs et al., 2017, has that idea). What is kept is
not scaled: an item is then as it is in an evaluation, and a dropped one as a cold one.

Only the rows of a batch are gathered, but the gradient and the two moments of
AdamW are dense: a step writes all of them, 16 bytes per item and column in
float32, and a checkpoint holds 12. For 20 thousand items of width 64 that is
20 MB; for a million it is 1 GB, which every step moves through memory a few
times, and beyond that this is the bottleneck.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

__all__ = ["ID_ROWS", "IdEmbedding"]

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
    dropout
        Probability of a whole vector to be left out of a step, at least 0 and below 1. The random
        numbers are those of torch's generator of the device.

    Shapes
    ------
    ``rows``: ``(any,)`` catalogue rows; result: ``(any, width)``.
    """

    def __init__(self, is_trained: Tensor, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = dropout
        drawn = torch.randn(len(is_trained), width) * _INITIAL_STD
        self.weight = nn.Parameter(drawn.masked_fill(~is_trained.unsqueeze(1), 0.0))

    def forward(self, rows: Tensor) -> Tensor:
        """Return the vectors of the given rows."""
        # Not `self.weight[rows]`: its backward would add the gradients of repeated rows in whatever
        # order threads run (see `crossan.train.objectives.step`).
        return self._without_dropped(F.embedding(rows, self.weight))

    def everyone(self) -> Tensor:
        """Return the vectors of the whole catalogue, ``(items, width)``."""
        return self._without_dropped(self.weight)

    def _without_dropped(self, vectors: Tensor) -> Tensor:
        """Return vectors with some of them zero while training."""
        if not self.training or not self.dropout:
            return vectors
        drawn = torch.rand(len(vectors), 1, device=vectors.device)
        return vectors.masked_fill(drawn < self.dropout, 0.0)
