"""The mixing weights before the side adapters of one layer.

Eq. 5 for CROSSAN, and the same without its cross-modal terms for INDSAN.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

__all__ = ["CrossModalGates", "Gates", "IndependentGates"]


class Gates(Protocol):
    """The gates of one layer, one for each modality."""

    def weights(self, presence: Tensor) -> Tensor:
        """Return the weights of every item, ``(items, modality, modality + 1)``.

        Row t is the gate of modality t. Its first weights are those of the
        previous outputs of all modalities, its last that of the hidden state
        of t. What belongs to an absent modality is zero.
        """


class CrossModalGates(nn.Module):
    r"""Mix the previous side-adapter outputs with the hidden state of each modality.

    Implements the argument of Eq. 5,

    .. math:: \sum_{m \in M} \alpha_i^m h_{i-1}^m + \alpha_i^t h_{i-1}^{BERT},
       \qquad \sum_{m \in M} \alpha_i^m + \alpha_i^t = 1,

    for all modalities t of one layer at once. Row t of the weights is the gate
    of modality t. The paper gives the constraint but not how it is kept; we
    store one free logit per input and take a softmax, so the weights start
    equal and always sum to one. Where an item lacks a modality, that modality
    is masked out of every gate, and the item's weights are renormalised over
    the modalities that are present.

    Parameters
    ----------
    modality_count
        Number of modalities |M|. Each gate has ``modality_count + 1`` logits;
        the last one belongs to the cached hidden state.
    temperature
        What the logits are divided by before the softmax. Logits at the
        adapters' learning rate hardly move; 0.1, which IISAN's code has in its
        gates, moves the weights ten times as far for the same step.

    Shapes
    ------
    ``previous``, ``hidden`` and the result: ``(items, modality, dim)``;
    ``presence``: ``(items, modality)`` bool. Rows of absent modalities must be
    finite; they are read with weight zero.
    """

    def __init__(self, modality_count: int, temperature: float = 1.0) -> None:
        super().__init__()
        self.temperature = temperature
        self.logits = nn.Parameter(torch.zeros(modality_count, modality_count + 1))

    def weights(self, presence: Tensor) -> Tensor:
        """Return the weights of every item, ``(items, modality, modality + 1)``.

        An item without any modality has zeros.
        """
        modality_count = presence.shape[1]
        is_readable = torch.cat(
            [presence.unsqueeze(1).expand(-1, modality_count, -1), presence.unsqueeze(-1)], dim=-1
        )
        scaled = self.logits / self.temperature
        masked = scaled.masked_fill(~is_readable, float("-inf"))
        # The softmax over a row of -inf is NaN. An item without any modality is in no batch, but
        # its NaN would reach the gradient of the logits that all items share.
        can_read = presence.any(dim=1)[:, None, None]
        return masked.masked_fill(~can_read, 0.0).softmax(dim=-1) * can_read

    def forward(self, previous: Tensor, hidden: Tensor, presence: Tensor) -> Tensor:
        """Return the weighted sums, shape ``(items, modality, dim)``."""
        weights = self.weights(presence).to(hidden.dtype)
        return weights[..., :-1] @ previous + weights[..., -1:] * hidden


class IndependentGates(nn.Module):
    r"""Mix the previous output of each tower with its own hidden state alone.

    Eq. 5 without its cross-modal terms, as INDSAN has it,

    .. math:: \beta_i^t h_{i-1}^t + \alpha_i^t h_{i-1}^{BERT},
       \qquad \beta_i^t + \alpha_i^t = 1.

    Parameters and shapes are those of `CrossModalGates`, with two logits for
    each modality: the previous output, then the hidden state. A present
    modality has both of its inputs, so nothing is renormalised.
    """

    def __init__(self, modality_count: int, temperature: float = 1.0) -> None:
        super().__init__()
        self.temperature = temperature
        self.logits = nn.Parameter(torch.zeros(modality_count, 2))

    def weights(self, presence: Tensor) -> Tensor:
        """Return the weights in the form of cross-modal ones, zeros for other towers.

        The shape is ``(items, modality, modality + 1)``.
        """
        own_previous, own_hidden = (self.logits / self.temperature).softmax(dim=-1).unbind(dim=-1)
        weights = torch.cat([own_previous.diag(), own_hidden.unsqueeze(1)], dim=1)
        return weights * presence.unsqueeze(-1)

    def forward(self, previous: Tensor, hidden: Tensor, presence: Tensor) -> Tensor:
        """Return the weighted sums, shape ``(items, modality, dim)``."""
        weights = (self.logits / self.temperature).softmax(dim=-1).to(hidden.dtype)
        mixed = weights[:, :1] * previous + weights[:, 1:] * hidden
        return mixed.masked_fill(~presence.unsqueeze(-1), 0.0)
