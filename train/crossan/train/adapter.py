"""The Houlsby adapter block, used beside the backbone instead of inside it."""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

__all__ = ["SideAdapter"]

_INITIAL_STD = 0.01


class SideAdapter(nn.Module):
    """Project down, apply GELU, project up, add the input: 768h + h + 768h + 768 parameters at dim 768.

    The paper leaves initialisation open; as IISAN does, weights are drawn from
    normal(0, 0.01) and biases are zero, so a new adapter is close to the identity.

    Shapes
    ------
    ``inputs``: ``(items, dim)``; result: ``(items, dim)``.
    """

    def __init__(self, dim: int, bottleneck_dim: int) -> None:
        super().__init__()
        self.down = nn.Linear(dim, bottleneck_dim)
        self.up = nn.Linear(bottleneck_dim, dim)
        for linear in (self.down, self.up):
            nn.init.normal_(linear.weight, std=_INITIAL_STD)
            nn.init.zeros_(linear.bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return ``inputs + up(gelu(down(inputs)))``, shape ``(items, dim)``."""
        adapted: Tensor = inputs + self.up(F.gelu(self.down(inputs)))
        return adapted
