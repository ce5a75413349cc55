r"""The towers of IISAN, one of each modality and one between them (SIGIR 2024).

Source: the cached variant of GAIR-Lab/IISAN at commit 67f5c1f. With
:math:`c_m` the hidden state of modality m at a layer, s the previous output of
a tower (zeros at the lowest layer) and :math:`\sigma` the sigmoid,

.. math:: s_m \leftarrow Ad_m\big(g_m c_m + (1 - g_m) s_m\big), \qquad
   s_x \leftarrow Ad_x\big(s_x + \textstyle\sum_m w_m c_m\big), \qquad
   g_m = \sigma(p_m / 0.1).

The inter-modal tower x takes its previous output in full: its gate only divides
the hidden states. IISAN has one number p for that, with the weight
:math:`\sigma(p / 0.1)` for the image and the rest for the text. IISAN-E, of
which no code exists, has "a gated sum" over any number of modalities; Table 4
counts M numbers a layer for it. Whether their weights sum to 1 is not said. We
take a softmax, which for two modalities has IISAN's weights among its own.

The originals know no absent modality. Ours is masked as everywhere: its tower
gives zeros, and the weights of the inter-modal tower are renormalised over what
is present.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from crossan.train.layers.activation import Activation
from crossan.train.layers.adapter import SideAdapters
from crossan.train.layers.align import aligned, clean, make_align
from crossan.train.layers.fused import mix_and_adapt
from crossan.train.layers.heads import TowerHeads

__all__ = ["IisanGates", "IisanTowers"]


class IisanGates(nn.Module):
    """The gates of all towers at one layer.

    Parameters
    ----------
    modality_count
        Number of modalities |M|.
    temperature
        What the free numbers are divided by; 0.1 in IISAN's code.
    is_paired
        Whether the inter-modal gate is IISAN's one number for two modalities,
        and not IISAN-E's one for each.

    Shapes
    ------
    ``presence``: ``(items, modality)`` bool.
    """

    def __init__(self, modality_count: int, temperature: float, *, is_paired: bool) -> None:
        super().__init__()
        if is_paired and modality_count != 2:
            raise ValueError(f"expected two modalities for a paired gate, got {modality_count}")
        self.temperature, self.is_paired = temperature, is_paired
        self.intra_logits = nn.Parameter(torch.zeros(modality_count))
        self.inter_logits = nn.Parameter(torch.zeros(1 if is_paired else modality_count))

    def weights(self, presence: Tensor) -> Tensor:
        """Return the weights of every tower, as `crossan.train.layers.fused` reads them.

        ``presence`` has the inter-modal tower as a last column; the result is
        ``(items, tower, tower + 1)``. That tower's previous output and its
        input, which `inter_input` makes, have both the weight 1. What belongs to
        an absent modality is zero.
        """
        share = (self.intra_logits / self.temperature).sigmoid()
        in_full = share.new_ones(1)
        own_previous, own_hidden = torch.cat([1 - share, in_full]), torch.cat([share, in_full])
        weights = torch.cat([own_previous.diag(), own_hidden.unsqueeze(1)], dim=1)
        return weights * presence.unsqueeze(-1)

    def inter_weights(self, presence: Tensor) -> Tensor:
        """Return how the inter-modal tower divides the hidden states, ``(items, modality)``.

        The weights of an item sum to 1, those of absent modalities are 0. An
        item without any modality has zeros.
        """
        scaled = self.inter_logits / self.temperature
        if self.is_paired:
            # The softmax of 0 and p is 1 - sigmoid(p) and sigmoid(p).
            scaled = torch.cat([scaled.new_zeros(1), scaled])
        masked = scaled.masked_fill(~presence, float("-inf"))
        # The softmax over a row of -inf is NaN, which would reach the gradient of all items.
        can_read = presence.any(dim=1, keepdim=True)
        return masked.masked_fill(~can_read, 0.0).softmax(dim=1) * can_read

    def inter_input(self, presence: Tensor, *hidden: Tensor) -> Tensor:
        """Return the gated sum of the hidden states, ``(items, dim)``.

        ``hidden`` is one ``(items, dim)`` per modality; absent rows are not
        read.
        """
        total: Tensor = _GatedSum.apply(  # type: ignore[no-untyped-call]
            self.inter_weights(presence), presence, *hidden
        )
        return total


class _GatedSum(torch.autograd.Function):
    """Sum hidden states by weights ``(items, modality)``, zeros in absent rows.

    Autograd would keep the clean states of all modalities, in the dtype of the
    parameters, at every layer. Here they are cleaned a second time instead.
    """

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch gives it no type
        weights: Tensor,
        presence: Tensor,
        *hidden: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(weights, presence, *hidden)
        total = weights.new_zeros(hidden[0].shape)
        for m, states in enumerate(hidden):
            total.addcmul_(weights[:, m, None], _clean(states, presence, m, weights.dtype))
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_total: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        weights, presence, *hidden = ctx.saved_tensors
        grad_weights = torch.stack(
            [
                torch.linalg.vecdot(grad_total, _clean(states, presence, m, weights.dtype))
                for m, states in enumerate(hidden)
            ],
            dim=1,
        )
        grad_hidden = [
            (weights[:, m, None] * grad_total).to(states.dtype) if is_needed else None
            for m, (states, is_needed) in enumerate(
                zip(hidden, ctx.needs_input_grad[2:], strict=True)
            )
        ]
        return grad_weights, None, *grad_hidden


def _clean(states: Tensor, presence: Tensor, m: int, dtype: torch.dtype) -> Tensor:
    is_present = presence[:, m, None]
    # An accelerator's answer would have to be waited for.
    if states.device.type == "cpu" and is_present.all():
        return states.to(dtype)
    return states.masked_fill(~is_present, 0.0).to(dtype)


class IisanTowers(nn.Module):
    """Climb the kept layers with one tower per modality and one between them.

    A tower is ``layer_count`` adapters and its heads; stores of different width
    are aligned as in `crossan.train.layers.tower`.

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
    gates
        The gates of each layer, lowest first.
    activation
        Inside the adapters.
    compute_dtype
        Of the adapters' projections and outputs in `forward`; by default the
        dtype of the parameters.

    Shapes
    ------
    ``hidden``: one ``(items, layer, dim_m)`` per modality, in any float dtype;
    ``presence``: ``(items, modality)`` bool; result: ``(items, modality + 1,
    width)``, the inter-modal tower last, zeros where a modality is absent. The
    numbers in an absent row are never read.
    """

    def __init__(
        self,
        dims: Sequence[int],
        bottleneck_dim: int,
        width: int,
        gates: Sequence[IisanGates],
        activation: Activation = "relu",
        compute_dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        dim, tower_count = max(dims), len(dims) + 1
        self.compute_dtype = compute_dtype
        self.align = make_align(dims)
        self.gates = nn.ModuleList(gates)
        self.adapters = nn.ModuleList(
            SideAdapters(tower_count, dim, bottleneck_dim, activation) for _ in gates
        )
        self.heads = TowerHeads(tower_count, dim, width)

    def forward(self, hidden: Sequence[Tensor], presence: Tensor) -> Tensor:
        """Return the tower outputs, shape ``(items, modality + 1, width)``."""
        states_of = aligned(self.align, hidden, presence, self.heads.inner.dtype)
        is_read = _with_inter(presence)
        previous = None
        for layer, (gates, adapters) in enumerate(self._layers()):
            states = [of_modality[:, layer] for of_modality in states_of]
            inter = gates.inter_input(presence, *states)
            previous = mix_and_adapt(
                previous, [*states, inter], is_read, gates, adapters, self.compute_dtype
            )
        outputs: Tensor = self.heads(previous)
        return outputs.masked_fill(~is_read.unsqueeze(-1), 0.0)

    def plain(self, hidden: Sequence[Tensor], presence: Tensor) -> Tensor:
        """Return the same by plain modules and autograd.

        The tests and ``--reference`` compare `forward` with this.
        """
        dtype, is_read = self.heads.inner.dtype, _with_inter(presence)
        states_of = torch.stack(
            [align(clean(hidden, presence, m, dtype)) for m, align in enumerate(self.align)], dim=1
        )  # (items, modality, layer, dim)
        previous = torch.zeros_like(states_of[:, :1, 0]).repeat(1, is_read.shape[1], 1)
        for layer, (gates, adapters) in enumerate(self._layers()):
            at_layer = states_of[:, :, layer]
            share = (gates.intra_logits / gates.temperature).sigmoid().unsqueeze(1)
            intra = share * at_layer + (1 - share) * previous[:, :-1]
            divided = gates.inter_weights(presence).unsqueeze(-1) * at_layer
            inter = previous[:, -1:] + divided.sum(dim=1, keepdim=True)
            previous = adapters(torch.cat([intra, inter], dim=1))
        outputs = self.heads.unfolded(previous)
        return outputs.masked_fill(~is_read.unsqueeze(-1), 0.0)

    def gate_weights(self) -> Tensor:
        """Return the weights of the modalities' own gates, ``(modality, layer, modality + 1)``.

        As in `crossan.train.layers.tower`, zeros for the outputs of other
        towers, and the last weight is that of the hidden state.
        """
        everything = torch.ones(
            1, len(self.align) + 1, dtype=torch.bool, device=self.heads.inner.device
        )
        by_layer = torch.stack([gates.weights(everything)[0] for gates, _ in self._layers()], dim=1)
        of_modalities = by_layer[:-1]
        return torch.cat([of_modalities[..., :-2], of_modalities[..., -1:]], dim=-1)

    def inter_weights(self) -> Tensor:
        """Return how the inter-modal tower divides the hidden states, ``(layer, modality)``.

        For an item that has every modality.
        """
        everything = torch.ones(
            1, len(self.align), dtype=torch.bool, device=self.heads.inner.device
        )
        return torch.cat([gates.inter_weights(everything) for gates, _ in self._layers()])

    def _layers(self) -> Iterator[tuple[IisanGates, SideAdapters]]:
        return zip(self.gates, self.adapters, strict=True)  # type: ignore[arg-type]


def _with_inter(presence: Tensor) -> Tensor:
    """Return presence with the inter-modal tower, which any modality feeds, as last column."""
    return torch.cat([presence, presence.any(dim=1, keepdim=True)], dim=1)
