"""Features as they are, the baseline of the side adapters: heads alone over the highest kept hidden state."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from crossan.train.layers.heads import TowerHeads

__all__ = ["FrozenTowers"]


class FrozenTowers(nn.Module):
    """Read the highest kept layer of every modality and nothing below: no gate, no adapter (``model.adapters=false``).

    Stores of different width get one learned Linear(dim_m, dim), as in
    `SideAdapterTowers`, whose shapes these are.

    Parameters
    ----------
    dims
        Width of the hidden states of each modality, in the order of `Modality`.
    width
        Width of the tower outputs.
    """

    def __init__(self, dims: Sequence[int], width: int) -> None:
        super().__init__()
        dim = max(dims)
        self.align = nn.ModuleList(
            nn.Identity() if own == dim else nn.Linear(own, dim) for own in dims
        )
        self.heads = TowerHeads(len(dims), dim, width)

    def forward(self, hidden: Sequence[Tensor], presence: Tensor) -> Tensor:
        """Return the tower outputs, shape ``(items, modality, width)``."""
        return self.heads(self._highest(hidden, presence)).masked_fill(~presence.unsqueeze(-1), 0.0)  # type: ignore[no-any-return]

    def plain(self, hidden: Sequence[Tensor], presence: Tensor) -> Tensor:
        """Return the same through the unfolded heads: what the tests and ``--reference`` hold `forward` against."""
        return self.heads.unfolded(self._highest(hidden, presence)).masked_fill(
            ~presence.unsqueeze(-1), 0.0
        )

    def _highest(self, hidden: Sequence[Tensor], presence: Tensor) -> Tensor:
        aligned = []
        for m, align in enumerate(self.align):
            highest = hidden[m][:, -1].masked_fill(~presence[:, m, None], 0.0)
            aligned.append(align(highest.to(self.heads.inner.dtype)))
        return torch.stack(aligned, dim=1)
