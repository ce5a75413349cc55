"""The side-adapter towers of all modalities.

They are climbed together, layer by layer, because every gate reads every tower.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from crossan.train.layers.adapter import SideAdapters
from crossan.train.layers.fused import mix_and_adapt
from crossan.train.layers.gate import CrossModalGates
from crossan.train.layers.heads import TowerHeads

__all__ = ["SideAdapterTowers", "read_gate_weights"]


class SideAdapterTowers(nn.Module):
    """Climb the kept layers, and at each gate and then adapt every modality (Eq. 5).

    One tower is ``layer_count`` adapters and its heads. Where stores differ in
    width, each modality narrower than the widest, ``dim``, gets one learned
    Linear(dim_m, dim).

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
        What `forward` computes the adapters' projections in; by default the
        dtype of the parameters.

    Shapes
    ------
    ``hidden``: one ``(items, layer, dim_m)`` per modality, in any float dtype;
    ``presence``: ``(items, modality)`` bool; result: ``(items, modality,
    width)``, zeros where a modality is absent. The numbers in an absent row are
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
            nn.Identity() if dim_m == dim else nn.Linear(dim_m, dim) for dim_m in dims
        )
        self.gates = nn.ModuleList(CrossModalGates(len(dims)) for _ in range(layer_count))
        self.adapters = nn.ModuleList(
            SideAdapters(len(dims), dim, bottleneck_dim) for _ in range(layer_count)
        )
        self.heads = TowerHeads(len(dims), dim, width)
        self.dim = dim

    def forward(self, hidden: Sequence[Tensor], presence: Tensor) -> Tensor:
        """Return the tower outputs, shape ``(items, modality, width)``."""
        # Only a modality that is aligned has to be cleaned here, because a linear layer reads all
        # of it; the fused step clears absent rows itself, block by block.
        aligned = [
            hidden[m] if isinstance(align, nn.Identity) else align(self._clean(hidden, presence, m))
            for m, align in enumerate(self.align)
        ]
        previous = None
        for layer, (gates, adapters) in enumerate(self._layers()):
            states = [of_modality[:, layer] for of_modality in aligned]
            previous = mix_and_adapt(
                previous, states, presence, gates, adapters, self.compute_dtype
            )
        return _present(self.heads(previous), presence)

    def plain(self, hidden: Sequence[Tensor], presence: Tensor) -> Tensor:
        """Return the same by plain modules and autograd.

        The tests and ``--reference`` compare `forward` with this.
        """
        clean = [align(self._clean(hidden, presence, m)) for m, align in enumerate(self.align)]
        # Eq. 5 reads the layer below, which the lowest kept layer does not have: zeros add nothing.
        previous = torch.zeros_like(torch.stack([states[:, 0] for states in clean], dim=1))
        for layer, (gates, adapters) in enumerate(self._layers()):
            at_layer = torch.stack([states[:, layer] for states in clean], dim=1)
            previous = adapters(gates(previous, at_layer, presence))
        return _present(self.heads.unfolded(previous), presence)

    def _layers(self) -> Iterator[tuple[CrossModalGates, SideAdapters]]:
        return zip(self.gates, self.adapters, strict=True)  # type: ignore[arg-type]

    def _clean(self, hidden: Sequence[Tensor], presence: Tensor, m: int) -> Tensor:
        return hidden[m].masked_fill(~presence[:, m, None, None], 0.0).to(self.heads.inner.dtype)

    def gate_weights(self) -> Tensor:
        """Return the weights of the gates for an item that has every modality.

        The shape is ``(modality, layer, modality + 1)``; the last weight is
        that of the hidden state.
        """
        return _gate_weights([gates.logits for gates in self.gates])  # type: ignore[misc]


def read_gate_weights(weights: Mapping[str, Tensor]) -> Tensor | None:
    """Return `SideAdapterTowers.gate_weights` from the named weights of a whole model.

    A checkpoint does not say how wide the stores were, so the model that the
    weights belong to cannot be built from it alone. None for a model without
    gates.
    """
    by_layer = {}
    for name, tensor in weights.items():
        _, is_gate, rest = name.partition(".gates.")
        layer, _, parameter = rest.partition(".")
        if is_gate and parameter == "logits":
            by_layer[int(layer)] = tensor
    # By number: as text, layer 10 would come between 1 and 2.
    return _gate_weights([by_layer[layer] for layer in sorted(by_layer)]) if by_layer else None


def _gate_weights(logits: Sequence[Tensor]) -> Tensor:
    """Return the weights of one gate module per layer, ``(modality, layer, modality + 1)``."""
    return torch.stack([of_layer.softmax(dim=-1) for of_layer in logits], dim=1)


def _present(outputs: Tensor, presence: Tensor) -> Tensor:
    return outputs.masked_fill(~presence.unsqueeze(-1), 0.0)
