r"""A learned vector per catalogue item beside its content, and how its rows follow the item ids from run to run.

With :math:`e_i` MOMEF's item vector (Eq. 6) and :math:`v_i` a free vector of
the same width, the item vector is their sum,

.. math:: z_i = e_i + v_i, \qquad v_i \sim N(0, 0.02^2), \qquad v_i = 0 \text{ where } \phi(i) = 0,

:math:`\phi(i)` the training count of item i. The paper has no such term: it is
``model.id_embedding``, and with ``model.content`` off :math:`z_i = v_i`, SASRec
over item ids. A sum, and not a concatenation, so that the width and all that
follows stay as they are, and so that an item never seen in training has exactly
its content for a vector: its :math:`v_i` begins at zero, gets no gradient
because no batch holds it, and weight decay leaves zero at zero.

Only the rows of a batch are gathered, but the gradient and AdamW's two moments
are dense: a step writes all of them, 16 bytes an item and column in float32 and
a checkpoint 12. 20 thousand items of width 64 are 20 MB, a million 1 GB, which
every step moves through memory a few times: beyond that this is the bottleneck.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

__all__ = ["ID_ROWS", "IdEmbedding", "carry_rows"]

ID_ROWS = "id_embedding.weight"
"""Name of the rows among a model's weights."""

_INITIAL_STD = 0.02


class IdEmbedding(nn.Module):
    """One free vector per catalogue item.

    Parameters
    ----------
    is_trained
        Whether an item occurs in any training part, ``(items,)`` bool; the others begin at zero.
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
        # Not an index: its backward would add up in whatever order threads run (see `crossan.train.objectives.step`).
        return F.embedding(rows, self.weight)


def carry_rows(
    weights: Mapping[str, Tensor], there: np.ndarray, initial: Tensor, here: np.ndarray
) -> dict[str, Tensor]:
    """Return a run's weights with its id rows put where the same items stand in another catalogue.

    Parameters
    ----------
    weights
        The run's, by name.
    there
        Its catalogue, ``(items there,)``, sorted.
    initial
        What the rows of new items begin at, as do those of items that nobody had in training there, ``(items, width)``.
    here
        The other catalogue, ``(items,)``, sorted.
    """
    rows = weights[ID_ROWS]
    places = np.searchsorted(there, here).clip(max=len(there) - 1)
    found = rows[torch.from_numpy(places)]
    is_carried = torch.from_numpy(there[places] == here) & (found != 0).any(dim=1)
    carried = torch.where(is_carried.unsqueeze(1), found, initial.detach().to(found))
    return {**weights, ID_ROWS: carried}
