"""MOMEF, the fusion of Eq. 6, with its experts and its router."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

__all__ = ["Momef"]


class Momef(nn.Module):
    r"""Fuse the tower outputs of one item into its item vector.

    .. math:: e^{final} = \sum_{m \in TopK(i)} w_m(i) f_m(i),
       \qquad \sum_{m \in TopK(i)} w_m(i) = 1.

    The router is one linear layer over all tower outputs side by side, with
    zeros for absent ones. An absent modality is never chosen: an item takes
    ``min(k, modalities present)``. Ties go to the earlier modality.

    Parameters
    ----------
    modality_count
        Number of modalities.
    width
        Width of tower outputs, experts and item vectors.
    top_k
        Modalities chosen per item. With 1 the renormalised weight is always 1
        and the router gets no gradient.
    combine
        ``"sum"`` is Eq. 6 as printed. ``"concat"`` lays the k weighted expert
        outputs side by side, heaviest first, empty slots zero, and maps them
        back to ``width``: the reading under which Table 4's count is exact.

    Shapes
    ------
    ``outputs``: ``(items, modality, width)``; ``presence``: ``(items, modality)``
    bool; result: ``(items, width)``.
    """

    def __init__(
        self, modality_count: int, width: int, top_k: int, combine: Literal["sum", "concat"]
    ) -> None:
        super().__init__()
        if not 1 <= top_k <= modality_count:
            raise ValueError(
                f"expected top_k from 1 to {modality_count} (the modalities in use), got {top_k}"
            )
        self.top_k = top_k
        self.experts = nn.ModuleList(nn.Linear(width, width) for _ in range(modality_count))
        self.router = nn.Linear(modality_count * width, modality_count)
        self.merge = nn.Linear(top_k * width, width) if combine == "concat" else None

    def route(self, outputs: Tensor, presence: Tensor) -> tuple[Tensor, Tensor]:
        """Return the chosen modalities and their weights, both ``(items, top_k)``.

        The heaviest comes first. A slot that no present modality fills weighs 0.
        """
        readable = outputs.masked_fill(~presence.unsqueeze(-1), 0.0)
        scores = self.router(readable.flatten(1)).masked_fill(~presence, float("-inf"))
        # A stable sort, not `topk`, which says nothing of ties: they must go to the same modality
        # on every device.
        ordered, modalities = scores.sort(dim=1, descending=True, stable=True)
        return modalities[:, : self.top_k], ordered[:, : self.top_k].softmax(dim=1)

    def forward(self, outputs: Tensor, presence: Tensor) -> Tensor:
        """Return the item vectors, shape ``(items, width)``."""
        chosen, weights = self.route(outputs, presence)
        # Every expert runs over every item: a few small products, and no sorting of the
        # items by what they chose.
        opinions = torch.stack(
            [expert(outputs[:, m]) for m, expert in enumerate(self.experts)], dim=1
        )
        selected = opinions.gather(1, chosen.unsqueeze(-1).expand(-1, -1, opinions.shape[-1]))
        weighted = selected * weights.unsqueeze(-1).to(selected.dtype)
        return weighted.sum(dim=1) if self.merge is None else self.merge(weighted.flatten(1))
