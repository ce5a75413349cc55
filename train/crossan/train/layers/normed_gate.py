"""The two nets of MHCR that all modalities share."""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

from crossan.train.layers.normed_linear import NormedLinear

__all__ = ["NormedAttention", "NormedGate"]


class NormedGate(nn.Module):
    """Two normalised linear layers, from vectors to how much of each coordinate is let through.

    Parameters
    ----------
    width
        Width of vectors.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = NormedLinear(width), NormedLinear(width)

    def forward(self, rows: Tensor, at: Tensor | None = None, times: int = 1) -> Tensor:
        """Return the gate of some rows of a table.

        Parameters
        ----------
        rows
            The table, ``(rows, width)``, all of which is normalised together.
        at
            Rows whose gate is returned, ``(any,)``; None for all.
        times
            How often the running statistics learn of the table.
        """
        hidden = F.linear(rows, *self.first.folded(rows, times)).relu()
        weight, bias = self.second.folded(hidden, times)
        return F.linear(_rows_at(hidden, at), weight, bias).sigmoid()


class NormedAttention(nn.Module):
    """From vectors of one modality to the logits of its share in the view of a node.

    Parameters
    ----------
    width
        Width of vectors.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = NormedLinear(width)
        self.attend = nn.Linear(width, 1, bias=False)

    def forward(self, rows: Tensor, at: Tensor | None = None) -> Tensor:
        """Return the logits of some rows of a table, ``(any, 1)``.

        Parameters
        ----------
        rows
            The table, ``(rows, width)``, all of which is normalised together.
        at
            Rows whose logits are returned, ``(any,)``; None for all.
        """
        weight, bias = self.query.folded(rows)
        logits: Tensor = self.attend(F.linear(_rows_at(rows, at), weight, bias).tanh())
        return logits


def _rows_at(rows: Tensor, at: Tensor | None) -> Tensor:
    return rows if at is None else rows.index_select(0, at)
