"""Towers without side adapters, the baseline that shows what the adapters add."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from crossan.train.layers.align import make_align
from crossan.train.layers.heads import TowerHeads

__all__ = ["FrozenTowers"]


class FrozenTowers(nn.Module):
    """Apply the heads to the highest kept hidden state of every modality.

    There is no gate and no adapter, and lower layers are not read
    (``model.kind=frozen``). Shapes, and the Linear(dim_m, dim) of stores with
    different widths, are those of `SideAdapterTowers`.

    Parameters
    ----------
    dims
        Width of the hidden states of each modality, in the order of `Modality`.
    width
        Width of the tower outputs.
    """

    def __init__(self, dims: Sequence[int], width: int) -> None:
        super().__init__()
        self.align = make_align(dims)
        self.heads = TowerHeads(len(dims), max(dims), width)

    def forward(self, hidden: Sequence[Tensor], presence: Tensor) -> Tensor:
        """Return the tower outputs, shape ``(items, modality, width)``."""
        outputs: Tensor = self.heads(self._highest(hidden, presence))
        return outputs.masked_fill(~presence.unsqueeze(-1), 0.0)

    def plain(self, hidden: Sequence[Tensor], presence: Tensor) -> Tensor:
        """Return the same through the unfolded heads.

        The tests and ``--reference`` compare `forward` with this.
        """
        outputs = self.heads.unfolded(self._highest(hidden, presence))
        return outputs.masked_fill(~presence.unsqueeze(-1), 0.0)

    def _highest(self, hidden: Sequence[Tensor], presence: Tensor) -> Tensor:
        aligned = []
        for m, align in enumerate(self.align):
            # An absent row may hold anything, NaN included, which would spread through the
            # gradients of the heads even where its output is masked.
            highest = hidden[m][:, -1].masked_fill(~presence[:, m, None], 0.0)
            aligned.append(align(highest.to(self.heads.inner.dtype)))
        return torch.stack(aligned, dim=1)
