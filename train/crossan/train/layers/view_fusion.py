"""One vector of a node from its vectors in several modalities, as MGCN fuses them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["fused_view"]


def fused_view(
    views: Sequence[Tensor], attention: Sequence[Tensor], preferences: Sequence[Tensor]
) -> Tensor:
    r"""Return the common part of the views, and what each has beside it as far as it is preferred.

    With views :math:`V_m` of M modalities, shares :math:`a` by a softmax over them and preferences
    :math:`p_m` it is

    .. math:: \frac{1}{M + 1} (c + \sum_m p_m \odot (V_m - c)), \qquad c = \sum_m a_m V_m.

    Parameters
    ----------
    views
        ``(nodes, width)`` each.
    attention
        Logits of the shares, ``(nodes, 1)`` each.
    preferences
        Between 0 and 1, ``(nodes, width)`` each.
    """
    shares = torch.cat(list(attention), dim=1).softmax(dim=1)
    common = (shares.unsqueeze(2) * torch.stack(list(views), dim=1)).sum(dim=1)
    fused = common
    for view, preferred in zip(views, preferences, strict=True):
        fused = torch.addcmul(fused, preferred, view - common)
    return fused / (len(views) + 1)
