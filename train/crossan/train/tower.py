"""The side-adapter towers of all modalities, climbed together because every gate reads every tower."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from crossan.train.adapter import SideAdapter
from crossan.train.gate import CrossModalGate

__all__ = ["SideAdapterTowers"]


class SideAdapterTowers(nn.Module):
    """Climb the kept layers; at each, gate then adapt every modality (Eq. 5).

    One tower is ``layer_count`` adapters, then Linear(dim, dim) and
    Linear(dim, width) with nothing between them (the count of Table 4).
    Stores of different width get one learned Linear(dim_m, dim) per modality
    that differs from the widest, ``dim``.

    Parameters
    ----------
    dims
        Width of the hidden states of each modality, in the order of `Modality`.
    layer_count
        Kept layers, the same number for every modality.
    bottleneck_dim
        Width h of the adapters.
    width
        Width of the tower outputs.

    Shapes
    ------
    ``hidden``: one ``(items, layer, dim_m)`` per modality; ``presence``:
    ``(items, modality)`` bool; result: ``(items, modality, width)``, zeros
    where a modality is absent. What lies in an absent row is never read.
    """

    def __init__(self, dims: Sequence[int], layer_count: int, bottleneck_dim: int, width: int) -> None:
        super().__init__()
        dim = max(dims)
        self.layer_count = layer_count
        self.align = nn.ModuleList(nn.Identity() if own == dim else nn.Linear(own, dim) for own in dims)
        self.gates = nn.ModuleList(nn.ModuleList(CrossModalGate(len(dims)) for _ in dims) for _ in range(layer_count))
        self.adapters = nn.ModuleList(
            nn.ModuleList(SideAdapter(dim, bottleneck_dim) for _ in dims) for _ in range(layer_count)
        )
        self.inner_heads = nn.ModuleList(nn.Linear(dim, dim) for _ in dims)
        self.outer_heads = nn.ModuleList(nn.Linear(dim, width) for _ in dims)
        self.dim = dim

    def forward(self, hidden: Sequence[Tensor], presence: Tensor) -> Tensor:
        """Return the tower outputs, shape ``(items, modality, width)``."""
        modality_count = len(self.align)
        clean = [align(hidden[m].masked_fill(~presence[:, m, None, None], 0.0)) for m, align in enumerate(self.align)]
        previous = clean[0].new_zeros(len(presence), modality_count, self.dim)
        readable = [torch.cat([presence, presence[:, m : m + 1]], dim=1) for m in range(modality_count)]
        for layer in range(self.layer_count):
            gates, adapters = self.gates[layer], self.adapters[layer]
            previous = torch.stack(
                [
                    adapters[m](gates[m](previous, clean[m][:, layer], readable[m]))  # type: ignore[index]
                    for m in range(modality_count)
                ],
                dim=1,
            )
        outputs = torch.stack(
            [
                outer(inner(previous[:, m]))
                for m, (inner, outer) in enumerate(zip(self.inner_heads, self.outer_heads, strict=True))
            ],
            dim=1,
        )
        return outputs.masked_fill(~presence.unsqueeze(-1), 0.0)

    def gate_weights(self) -> Tensor:
        """Return the gates' weights where nothing is absent, ``(modality, layer, modality + 1)``, hidden state last."""
        modalities = range(len(self.align))
        return torch.stack([torch.stack([layer[m].logits.softmax(0) for layer in self.gates]) for m in modalities])  # type: ignore[index]
