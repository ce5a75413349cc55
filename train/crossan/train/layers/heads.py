"""The two linear maps on top of every tower."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["TowerHeads"]


class TowerHeads(nn.Module):
    """Apply Linear(dim, dim), then Linear(dim, width), per modality.

    Two maps with nothing between them are what gives the parameter count of
    Table 4. They are applied as the one matrix that they amount to, multiplied
    out once per step: fewer operations, the same gradients. Weights and biases
    are initialised as in torch's Linear.

    Shapes
    ------
    ``states``: ``(items, modality, dim)`` in any float dtype; result: ``(items,
    modality, width)`` in that of the parameters. ``inner``: ``(modality, dim, dim)``; ``outer``: ``(modality, dim,
    width)``.
    """

    def __init__(self, modality_count: int, dim: int, width: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(dim)
        self.inner, self.inner_bias, self.outer, self.outer_bias = (
            nn.Parameter(torch.empty(modality_count, *shape).uniform_(-bound, bound))
            for shape in ((dim, dim), (dim,), (dim, width), (width,))
        )

    def forward(self, states: Tensor) -> Tensor:
        """Return the tower outputs through the folded matrix."""
        # (x A + a) B + b = x (A B) + (a B + b)
        bias = torch.baddbmm(self.outer_bias.unsqueeze(1), self.inner_bias.unsqueeze(1), self.outer)
        # Item vectors are compared with each other: what the towers rounded is not rounded again.
        states = states.to(self.inner.dtype).transpose(0, 1)
        return torch.baddbmm(bias, states, self.inner @ self.outer).transpose(0, 1)

    def unfolded(self, states: Tensor) -> Tensor:
        """Return the same by one map after the other."""
        inner = torch.baddbmm(self.inner_bias.unsqueeze(1), states.transpose(0, 1), self.inner)
        return torch.baddbmm(self.outer_bias.unsqueeze(1), inner, self.outer).transpose(0, 1)
