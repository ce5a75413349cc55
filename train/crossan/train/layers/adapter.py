"""The Houlsby adapter blocks of one layer, used beside the backbones instead of inside them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from crossan.train.layers.activation import Activation, activate

__all__ = ["SideAdapters"]

_INITIAL_STD = 0.01


class SideAdapters(nn.Module):
    """Project down, apply the activation, project up and add the input.

    At dim 768 a modality has 768h + h + 768h + 768 parameters, h being the
    width of the bottleneck. The adapters of all modalities at one layer share
    one parameter, so that each projection is one batched matmul. Layers do not
    share: indexing one stack of layers would make every backward fill a
    gradient of the whole stack with zeros. The paper leaves initialisation
    open. As in IISAN, weights are drawn from normal(0, 0.01) and biases are
    zero, so a new adapter is close to the identity.

    Shapes
    ------
    ``inputs`` and result: ``(items, modality, dim)``. ``down``: ``(modality,
    dim, bottleneck)``; ``up``: ``(modality, bottleneck, dim)``.
    """

    def __init__(
        self,
        modality_count: int,
        dim: int,
        bottleneck_dim: int,
        activation: Activation = "gelu",
    ) -> None:
        super().__init__()
        self.activation: Activation = activation
        self.down = nn.Parameter(torch.randn(modality_count, dim, bottleneck_dim) * _INITIAL_STD)
        self.down_bias = nn.Parameter(torch.zeros(modality_count, bottleneck_dim))
        self.up = nn.Parameter(torch.randn(modality_count, bottleneck_dim, dim) * _INITIAL_STD)
        self.up_bias = nn.Parameter(torch.zeros(modality_count, dim))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return ``inputs + up(activate(down(inputs)))``, shape ``(items, modality, dim)``."""
        # A batched matmul wants the modality first: one matrix per modality, over all items.
        bottleneck = torch.baddbmm(self.down_bias.unsqueeze(1), inputs.transpose(0, 1), self.down)
        active = activate(bottleneck, self.activation)
        change = torch.baddbmm(self.up_bias.unsqueeze(1), active, self.up)
        return inputs + change.transpose(0, 1)
