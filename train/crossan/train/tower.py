"""The side-adapter towers of all modalities, climbed together because every gate reads every tower."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

from crossan.train.adapter import SideAdapter
from crossan.train.gate import CrossModalGates

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
        self.gates = nn.ModuleList(CrossModalGates(len(dims)) for _ in range(layer_count))
        self.adapters = nn.ModuleList(
            nn.ModuleList(SideAdapter(dim, bottleneck_dim) for _ in dims) for _ in range(layer_count)
        )
        self.inner_heads = nn.ModuleList(nn.Linear(dim, dim) for _ in dims)
        self.outer_heads = nn.ModuleList(nn.Linear(dim, width) for _ in dims)
        self.dim = dim

    def forward(self, hidden: Sequence[Tensor], presence: Tensor) -> Tensor:
        """Return the tower outputs, shape ``(items, modality, width)``."""
        clean = [align(hidden[m].masked_fill(~presence[:, m, None, None], 0.0)) for m, align in enumerate(self.align)]
        previous = torch.zeros_like(torch.stack([states[:, 0] for states in clean], dim=1))  # layer 0 has none
        for layer, (gates, adapters) in enumerate(zip(self.gates, self.adapters, strict=True)):
            mixed = gates(previous, torch.stack([states[:, layer] for states in clean], dim=1), presence)
            climbed = zip(adapters.children(), mixed.unbind(dim=1), strict=True)
            previous = torch.stack([adapter(state) for adapter, state in climbed], dim=1)
        heads = zip(previous.unbind(dim=1), self.inner_heads, self.outer_heads, strict=True)
        outputs = torch.stack([_folded(state, inner, outer) for state, inner, outer in heads], dim=1)  # type: ignore[arg-type]
        return outputs.masked_fill(~presence.unsqueeze(-1), 0.0)

    def gate_weights(self) -> Tensor:
        """Return the gates' weights where nothing is absent, ``(modality, layer, modality + 1)``, hidden state last."""
        return torch.stack([gates.logits.softmax(dim=-1) for gates in self.gates], dim=1)  # type: ignore[operator]


def _folded(state: Tensor, inner: nn.Linear, outer: nn.Linear) -> Tensor:
    """Apply both heads as the one matrix they are, nothing standing between them: fewer operations, same gradients."""
    return F.linear(state, outer.weight @ inner.weight, outer.weight @ inner.bias + outer.bias)
