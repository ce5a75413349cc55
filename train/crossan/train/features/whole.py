"""The last kept layer of all items at once, for models that read no other."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

from crossan.train.features.interface import HiddenStates

__all__ = ["last_layers"]

_ITEMS_PER_BLOCK = 1024
"""As an evaluation reads them, for which there is memory."""


@torch.no_grad()
def last_layers(features: HiddenStates) -> Tensor:
    """Return the highest kept hidden state of every item, modalities side by side.

    Each modality's is divided by its length, so that none outweighs the others by
    the size of its numbers. It is zero where an item lacks the modality.

    Returns
    -------
    Tensor
        ``(items, sum of dims)`` float32, where the features are computed with.
    """
    device = features.presence.device
    item_count, width = len(features.presence), sum(features.dims)
    table = torch.zeros(item_count, width, device=device)
    for rows in torch.arange(item_count, device=device).split(_ITEMS_PER_BLOCK):
        hidden, presence = features.gather(rows)
        parts = [
            # What lies in an absent row may be NaN, which no product takes away.
            F.normalize(states[:, -1].float().masked_fill(~is_there.unsqueeze(1), 0.0))
            for states, is_there in zip(hidden, presence.unbind(dim=1), strict=True)
        ]
        table[rows] = torch.cat(parts, dim=1)
    return table
