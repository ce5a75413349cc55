"""The last kept layer of all items at once, for models that read no other."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

from crossan.train.features.interface import HiddenStates

__all__ = ["last_layers", "last_states"]

_ITEMS_PER_BLOCK = 1024
"""As an evaluation reads them, for which there is memory."""


def last_layers(features: HiddenStates) -> Tensor:
    """Return the highest kept hidden state of every item, modalities side by side.

    Each modality's is divided by its length, so that none outweighs the others by
    the size of its numbers. It is zero where an item lacks the modality.

    Returns
    -------
    Tensor
        ``(items, sum of dims)`` float32, where the features are computed with.
    """
    return torch.cat([F.normalize(states) for states in last_states(features)], dim=1)


@torch.no_grad()
def last_states(features: HiddenStates) -> list[Tensor]:
    """Return the highest kept hidden state of every item as it is, of each modality.

    It is zero where an item lacks the modality.

    Returns
    -------
    list[Tensor]
        ``(items, dim)`` float32 each, where the features are computed with.
    """
    device = features.presence.device
    item_count = len(features.presence)
    tables = [torch.zeros(item_count, dim, device=device) for dim in features.dims]
    for rows in torch.arange(item_count, device=device).split(_ITEMS_PER_BLOCK):
        hidden, presence = features.gather(rows)
        for table, states, is_there in zip(tables, hidden, presence.unbind(dim=1), strict=True):
            # What lies in an absent row may be NaN, which no product takes away.
            table[rows] = states[:, -1].float().masked_fill(~is_there.unsqueeze(1), 0.0)
    return tables
