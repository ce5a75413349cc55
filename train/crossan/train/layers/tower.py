"""The side-adapter towers of all modalities.

They are climbed together, layer by layer, because a cross-modal gate reads every
tower; with independent gates they only share the matmuls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from crossan.train.layers.activation import Activation
from crossan.train.layers.adapter import SideAdapters
from crossan.train.layers.align import aligned, clean, make_align
from crossan.train.layers.fused import mix_and_adapt
from crossan.train.layers.gate import CrossModalGates, IndependentGates
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
        Of the adapters' projections and outputs in `forward`; by default the
        dtype of the parameters.
    make_gates
        From the number of modalities to the gates of one layer.
    activation
        Inside the adapters.

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
        make_gates: Callable[[int], CrossModalGates | IndependentGates] = CrossModalGates,
        activation: Activation = "gelu",
    ) -> None:
        super().__init__()
        dim = max(dims)
        self.layer_count, self.compute_dtype = layer_count, compute_dtype
        self.align = make_align(dims)
        self.gates = nn.ModuleList(make_gates(len(dims)) for _ in range(layer_count))
        self.adapters = nn.ModuleList(
            SideAdapters(len(dims), dim, bottleneck_dim, activation) for _ in range(layer_count)
        )
        self.heads = TowerHeads(len(dims), dim, width)
        self.dim = dim

    def forward(self, hidden: Sequence[Tensor], presence: Tensor) -> Tensor:
        """Return the tower outputs, shape ``(items, modality, width)``."""
        states_of = aligned(self.align, hidden, presence, self.heads.inner.dtype)
        previous = None
        for layer, (gates, adapters) in enumerate(self._layers()):
            states = [of_modality[:, layer] for of_modality in states_of]
            previous = mix_and_adapt(
                previous, states, presence, gates, adapters, self.compute_dtype
            )
        return _present(self.heads(previous), presence)

    def plain(self, hidden: Sequence[Tensor], presence: Tensor) -> Tensor:
        """Return the same by plain modules and autograd.

        The tests and ``--reference`` compare `forward` with this.
        """
        dtype = self.heads.inner.dtype
        states_of = [align(clean(hidden, presence, m, dtype)) for m, align in enumerate(self.align)]
        # Eq. 5 reads the layer below, which the lowest kept layer does not have: zeros add nothing.
        previous = torch.zeros_like(torch.stack([states[:, 0] for states in states_of], dim=1))
        for layer, (gates, adapters) in enumerate(self._layers()):
            at_layer = torch.stack([states[:, layer] for states in states_of], dim=1)
            previous = adapters(gates(previous, at_layer, presence))
        return _present(self.heads.unfolded(previous), presence)

    def _layers(self) -> Iterator[tuple[CrossModalGates | IndependentGates, SideAdapters]]:
        return zip(self.gates, self.adapters, strict=True)  # type: ignore[arg-type]

    def gate_weights(self) -> Tensor:
        """Return the weights of the gates for an item that has every modality.

        The shape is ``(modality, layer, modality + 1)``; the last weight is
        that of the hidden state.
        """
        everything = torch.ones(
            1, len(self.align), dtype=torch.bool, device=self.heads.inner.device
        )
        by_layer = [gates.weights(everything)[0] for gates, _ in self._layers()]
        return torch.stack(by_layer, dim=1)


def read_gate_weights(weights: Mapping[str, Tensor], temperature: float = 1.0) -> Tensor | None:
    """Return the gates of towers from the named weights of a whole model.

    A checkpoint does not say how wide the stores were, so the model that the
    weights belong to cannot be built from it alone. The shape is that of
    `SideAdapterTowers.gate_weights`; of IISAN's towers it has the gates of the
    modalities, without those of the inter-modal tower. None for a model
    without gates.

    Parameters
    ----------
    weights
        By the names of `torch.nn.Module.state_dict`.
    temperature
        The run's ``model.gate_temperature``, which no weight holds.
    """
    by_layer = {}
    for name, tensor in weights.items():
        _, is_gate, rest = name.partition(".gates.")
        layer, _, parameter = rest.partition(".")
        if is_gate and parameter in {"logits", "intra_logits"}:
            by_layer[int(layer)] = _read_weights(tensor, temperature)
    # By number: as text, layer 10 would come between 1 and 2.
    in_order = [by_layer[layer] for layer in sorted(by_layer)]
    return torch.stack(in_order, dim=1) if in_order else None


def _read_weights(logits: Tensor, temperature: float) -> Tensor:
    """Return the weights of one layer, ``(modality, modality + 1)``."""
    modality_count = len(logits)
    if logits.ndim == 1:
        # One number p of IISAN: sigmoid(p / t) is the softmax of 0 and p / t.
        logits = torch.stack([torch.zeros_like(logits), logits], dim=1)
    is_cross_modal = logits.shape[1] == modality_count + 1
    make_gates = CrossModalGates if is_cross_modal else IndependentGates
    gates = make_gates(modality_count, temperature).to(logits.dtype)
    gates.load_state_dict({"logits": logits})
    with torch.no_grad():
        return gates.weights(torch.ones(1, modality_count, dtype=torch.bool))[0]


def _present(outputs: Tensor, presence: Tensor) -> Tensor:
    return outputs.masked_fill(~presence.unsqueeze(-1), 0.0)
