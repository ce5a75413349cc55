"""The fusions that Table 5 compares MOMEF with (section 6.3).

Each makes one item vector of the tower outputs of an item. The paper describes
them in a sentence each; what it leaves open, and what we chose:

- The two gated fusions weigh the tower outputs themselves. Whether there is an
  expert network before the weights, as in MOMEF, is not said; without one, what
  differs from MOMEF is the experts and the choice of k, as the names suggest.
- Weights sum to 1 by a softmax, and gates begin equal. With one modality they
  are always 1, and the gate gets no gradient.
- An absent modality is masked, and the weights are renormalised over the
  present ones. For the concatenation it is zeros in its place.

Shapes are those of every fusion: ``outputs`` ``(items, modality, width)``,
zeros where a modality is absent; ``presence`` ``(items, modality)`` bool; result
``(items, width)``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["ConcatFusion", "DynamicGateFusion", "StaticGateFusion"]


class DynamicGateFusion(nn.Module):
    """Weigh the modalities of every item anew, by a fully connected layer.

    "D-Gated Fusion", which "leverages a fully connected layer to generate
    different weights for each item". The layer reads all tower outputs side by
    side, as MOMEF's router does: M * width * M + M parameters.
    """

    def __init__(self, modality_count: int, width: int) -> None:
        super().__init__()
        self.gate = nn.Linear(modality_count * width, modality_count)

    def weights(self, outputs: Tensor, presence: Tensor) -> Tensor:
        """Return the weights of every item, ``(items, modality)``."""
        return _softmax_over_present(self.gate(outputs.flatten(1)), presence)

    def forward(self, outputs: Tensor, presence: Tensor) -> Tensor:
        """Return the item vectors, shape ``(items, width)``."""
        return _weighted_sum(self.weights(outputs, presence), outputs)


class StaticGateFusion(nn.Module):
    """Weigh the modalities of all items alike, by one learned gate each.

    "S-Gated Fusion", where "a learnable gate is assigned to each modality and
    remains fixed after training, applying the same weights to all items": M
    parameters.
    """

    def __init__(self, modality_count: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(modality_count))

    def weights(self, outputs: Tensor, presence: Tensor) -> Tensor:
        """Return the weights of every item, ``(items, modality)``.

        They differ between items by presence alone.
        """
        return _softmax_over_present(self.logits.expand(len(outputs), -1), presence)

    def forward(self, outputs: Tensor, presence: Tensor) -> Tensor:
        """Return the item vectors, shape ``(items, width)``."""
        return _weighted_sum(self.weights(outputs, presence), outputs)


class ConcatFusion(nn.Module):
    """Lay the tower outputs side by side and map them to one vector.

    "Concat Fusion refers to the direct concatenation of all modalities". An
    item vector must have the width of a user vector, so a linear layer follows,
    as in IISAN: M * width * width + width parameters.
    """

    def __init__(self, output_count: int, width: int) -> None:
        super().__init__()
        self.merge = nn.Linear(output_count * width, width)

    def forward(self, outputs: Tensor, presence: Tensor) -> Tensor:
        """Return the item vectors, shape ``(items, width)``."""
        del presence  # towers give zeros where a modality is absent
        merged: Tensor = self.merge(outputs.flatten(1))
        return merged


def _softmax_over_present(scores: Tensor, presence: Tensor) -> Tensor:
    return scores.masked_fill(~presence, float("-inf")).softmax(dim=1)


def _weighted_sum(weights: Tensor, outputs: Tensor) -> Tensor:
    return (weights.unsqueeze(-1).to(outputs.dtype) * outputs).sum(dim=1)
