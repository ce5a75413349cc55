"""Losses that compare vectors within a batch."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

__all__ = ["bayesian_ranking", "info_nce"]


def bayesian_ranking(user_vectors: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    r"""Return the loss of Bayesian personalised ranking (Rendle et al., 2009).

    It is the mean over triples of :math:`-\ln \sigma(u \cdot p - u \cdot n)`.

    Parameters
    ----------
    user_vectors, positive, negative
        Vectors of the user, of an item of theirs and of another item, ``(triples, width)`` each.
    """
    differences = torch.linalg.vecdot(user_vectors, positive - negative)
    return F.softplus(-differences).mean()


def info_nce(anchor: Tensor, positive: Tensor, temperature: float) -> Tensor:
    r"""Return the contrastive loss of pairs, the pairs of other rows being the negatives (InfoNCE).

    With cosines :math:`c_{rs}` of anchor r and positive s, it is the mean over rows r of
    :math:`-\ln (e^{c_{rr} / t} / \sum_s e^{c_{rs} / t})`. A row that is there twice is a negative
    of itself.

    Parameters
    ----------
    anchor, positive
        ``(rows, width)`` each.
    temperature
        t.
    """
    cosines = F.normalize(anchor) @ F.normalize(positive).T
    rows = torch.arange(len(anchor), device=anchor.device)
    return F.cross_entropy(cosines / temperature, rows)
