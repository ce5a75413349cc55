"""Eq. 5's mixing weights: one gate before every side adapter."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["CrossModalGate"]


class CrossModalGate(nn.Module):
    r"""Mix the previous side-adapter outputs with one cached hidden state.

    Implements the argument of Eq. 5,

    .. math:: \sum_{m \in M} \alpha_i^m h_{i-1}^m + \alpha_i^t h_{i-1}^{BERT},
       \qquad \sum_{m \in M} \alpha_i^m + \alpha_i^t = 1.

    The paper gives the constraint but not how it is kept; we store one free
    logit per input and take a softmax, so the weights start equal and always
    sum to one. An item's absent modality is masked out and the weights of that
    item are renormalised over what is present.

    Parameters
    ----------
    modality_count
        Number of modalities |M|. The gate has ``modality_count + 1`` logits;
        the last one belongs to the cached hidden state.

    Shapes
    ------
    ``previous``: ``(items, modality, dim)``; ``hidden``: ``(items, dim)``;
    ``is_readable``: ``(items, modality + 1)`` bool, the last column for the
    hidden state; result: ``(items, dim)``.
    """

    def __init__(self, modality_count: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(modality_count + 1))

    def weights(self, is_readable: Tensor) -> Tensor:
        """Return each item's weights, shape ``(items, modality + 1)``; an item that can read nothing gets zeros."""
        masked = self.logits.expand(is_readable.shape).masked_fill(~is_readable, float("-inf"))
        # A row of -inf would be NaN: such an item is in no batch, but must not poison its neighbours' gradients.
        can_read = is_readable.any(dim=1, keepdim=True)
        return masked.masked_fill(~can_read, 0.0).softmax(dim=1) * can_read

    def forward(self, previous: Tensor, hidden: Tensor, is_readable: Tensor) -> Tensor:
        """Return the weighted sum, shape ``(items, dim)``."""
        weights = self.weights(is_readable).to(hidden.dtype)
        mixed = torch.einsum("im,imd->id", weights[:, :-1], previous)
        return mixed + weights[:, -1:] * hidden
