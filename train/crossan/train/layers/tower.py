"""The side-adapter towers of all modalities, climbed together because every gate reads every tower."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from crossan.train.layers.adapter import SideAdapters
from crossan.train.layers.fused import mix_and_adapt
from crossan.train.layers.gate import CrossModalGates
from crossan.train.layers.heads import TowerHeads

__all__ = ["SideAdapterTowers"]


class SideAdapterTowers(nn.Module):
    """Climb the kept layers; at each, gate then adapt every modality (Eq. 5).

    One tower is ``layer_count`` adapters and its heads. Stores of different
    width get one learned Linear(dim_m, dim) per modality that differs from the
    widest, ``dim``.

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
    compute_dtype
        What `forward` computes the adapters' projections in; the parameters'
        own dtype where not given.

    Shapes
    ------
    ``hidden``: one ``(items, layer, dim_m)`` per modality, in any float dtype;
    ``presence``: ``(items, modality)`` bool; result: ``(items, modality,
    width)``, zeros where a modality is absent. What lies in an absent row is
    never read.
    """

    def __init__(
        self,
        dims: Sequence[int],
        layer_count: int,
        bottleneck_dim: int,
        width: int,
        compute_dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        dim = max(dims)
        self.layer_count, self.compute_dtype = layer_count, compute_dtype
        self.align = nn.ModuleList(
            nn.Identity() if own == dim else nn.Linear(own, dim) for own in dims
        )
        self.gates = nn.ModuleList(CrossModalGates(len(dims)) for _ in range(layer_count))
        self.adapters = nn.ModuleList(
            SideAdapters(len(dims), dim, bottleneck_dim) for _ in range(layer_count)
        )
        self.heads = TowerHeads(len(dims), dim, width)
        self.dim = dim

    def forward(self, hidden: Sequence[Tensor], presence: Tensor) -> Tensor:
        """Return the tower outputs, shape ``(items, modality, width)``."""
        aligned = [
            hidden[m] if isinstance(align, nn.Identity) else align(self._clean(hidden, presence, m))
            for m, align in enumerate(self.align)
        ]
        previous = None
        for layer, (gates, adapters) in enumerate(self._layers()):
            states = [own[:, layer] for own in aligned]
            previous = mix_and_adapt(
                previous, states, presence, gates, adapters, self.compute_dtype
            )
        return _present(self.heads(previous), presence)

    def plain(self, hidden: Sequence[Tensor], presence: Tensor) -> Tensor:
        """Return the same by plain modules and autograd: what the tests and ``--reference`` hold `forward` against."""
        clean = [align(self._clean(hidden, presence, m)) for m, align in enumerate(self.align)]
        previous = torch.zeros_like(
            torch.stack([states[:, 0] for states in clean], dim=1)
        )  # layer 0 has none
        for layer, (gates, adapters) in enumerate(self._layers()):
            previous = adapters(
                gates(
                    previous, torch.stack([states[:, layer] for states in clean], dim=1), presence
                )
            )
        return _present(self.heads.unfolded(previous), presence)

    def _layers(self) -> Iterator[tuple[CrossModalGates, SideAdapters]]:
        return zip(self.gates, self.adapters, strict=True)  # type: ignore[arg-type]

    def _clean(self, hidden: Sequence[Tensor], presence: Tensor, m: int) -> Tensor:
        return hidden[m].masked_fill(~presence[:, m, None, None], 0.0).to(self.heads.inner.dtype)

    def gate_weights(self) -> Tensor:
        """Return the gates' weights where nothing is absent, ``(modality, layer, modality + 1)``, hidden state last."""
        return torch.stack([gates.logits.softmax(dim=-1) for gates in self.gates], dim=1)  # type: ignore[operator]


def _present(outputs: Tensor, presence: Tensor) -> Tensor:
    return outputs.masked_fill(~presence.unsqueeze(-1), 0.0)
