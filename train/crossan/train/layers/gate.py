"""The mixing weights of Eq. 5, the gates before the side adapters of one layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["CrossModalGates"]


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

    Shapes
    ------
    ``previous``, ``hidden`` and the result: ``(items, modality, dim)``;
    ``presence``: ``(items, modality)`` bool. Rows of absent modalities must be
    finite; they are read with weight zero.
    """

    def __init__(self, modality_count: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(modality_count, modality_count + 1))

    def weights(self, presence: Tensor) -> Tensor:
        """Return the weights of every item, ``(items, modality, modality + 1)``.

        An item without any modality has zeros.
        """
        modality_count = presence.shape[1]
        is_readable = torch.cat(
            [presence.unsqueeze(1).expand(-1, modality_count, -1), presence.unsqueeze(-1)], dim=-1
        )
        masked = self.logits.masked_fill(~is_readable, float("-inf"))
        # The softmax over a row of -inf is NaN. An item without any modality is in no batch, but
        # its NaN would reach the gradient of the logits that all items share.
        can_read = presence.any(dim=1)[:, None, None]
        return masked.masked_fill(~can_read, 0.0).softmax(dim=-1) * can_read

    def forward(self, previous: Tensor, hidden: Tensor, presence: Tensor) -> Tensor:
        """Return the weighted sums, shape ``(items, modality, dim)``."""
        weights = self.weights(presence).to(hidden.dtype)
        return weights[..., :-1] @ previous + weights[..., -1:] * hidden
