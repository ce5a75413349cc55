"""What MHCR learns of one modality alone."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn

__all__ = ["HyperView"]


class HyperView(nn.Module):
    """A trained copy of features, their projection, and the hyperedges that they are tied to.

    Parameters
    ----------
    features
        ``(items, dim)``.
    width
        Width of projected features.
    hyperedges
        Hyperedges.
    """

    def __init__(self, features: Tensor, width: int, hyperedges: int) -> None:
        super().__init__()
        self.table = nn.Parameter(features.clone())
        self.project = nn.Linear(features.shape[1], width)
        self.hyper = nn.Parameter(torch.empty(features.shape[1], hyperedges))
        nn.init.xavier_uniform_(self.hyper)

    def forward(self) -> tuple[Tensor, Tensor]:
        """Return projected features ``(items, width)``, and logits ``(items, hyperedges)``."""
        width, hyperedges = self.project.out_features, self.hyper.shape[1]
        # One product for both, as it is the table that takes long to read.
        weight = torch.cat([self.project.weight, self.hyper.T])
        both = F.linear(self.table, weight, F.pad(self.project.bias, (0, hyperedges)))
        return both[:, :width], both[:, width:]
