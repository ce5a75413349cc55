"""The nearest items of every item, by the cosine of their vectors."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from scipy import sparse
from torch import Tensor

from crossan.common.heartbeat import beat
from crossan.train.layers.kept_neighbours import keep_neighbours, kept_neighbours, neighbours_key

__all__ = ["NO_ITEM", "mean_of_neighbours", "nearest_items"]

NO_ITEM = -1
"""Column where an item has fewer neighbours than asked for."""
_ITEMS_PER_BLOCK = 512
"""Of 20,000 items, the cosines of one block are 40 MB; those of all would be 1.5 GB."""
_LEAST_KEPT = 2048
"""Fewer items are compared sooner than a file is read."""


def nearest_items(vectors: Tensor, is_present: Tensor, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the k nearest items of each item, itself first, and their cosines.

    They are kept in files under ``XDG_CACHE_HOME``, by a digest of all that they follow from.
    Other vectors have other files, and a damaged file is made anew.

    Parameters
    ----------
    vectors
        ``(items, dim)``.
    is_present
        Which items have a vector, ``(items,)`` bool. The others have no neighbours, and are those
        of nobody.
    k
        Neighbours of each, itself among them.

    Returns
    -------
    tuple[np.ndarray, np.ndarray]
        Items by falling cosine, `NO_ITEM` where there are not so many, ``(items, k)`` int32, and
        cosines, 0 there, ``(items, k)`` float32.
    """
    if len(vectors) < _LEAST_KEPT:
        return _nearest(vectors, is_present, k)
    key = neighbours_key(vectors, is_present, k)
    kept = kept_neighbours(key, (len(vectors), k))
    if kept is None:
        kept = _nearest(vectors, is_present, k)
        keep_neighbours(key, kept)
    return kept


@torch.no_grad()
def _nearest(vectors: Tensor, is_present: Tensor, k: int) -> tuple[np.ndarray, np.ndarray]:
    item_count = len(vectors)
    neighbours = np.full((item_count, k), NO_ITEM, dtype=np.int32)
    cosines = np.zeros((item_count, k), dtype=np.float32)
    present = is_present.nonzero().squeeze(1)
    unit = F.normalize(vectors[present].float())
    most = min(k, len(present))
    if not most:
        return neighbours, cosines
    for numbers in torch.arange(len(present), device=unit.device).split(_ITEMS_PER_BLOCK):
        beat()
        block = unit[numbers] @ unit.T  # (block, present items)
        own = (torch.arange(len(numbers), device=unit.device), numbers)
        own_cosines = block[own]
        # First, whichever of several equal items would otherwise be.
        block[own] = torch.inf
        values, places = block.topk(most)
        values[:, 0] = own_cosines
        rows = present[numbers].numpy(force=True)
        neighbours[rows, :most] = present[places].numpy(force=True)
        cosines[rows, :most] = values.numpy(force=True)
    return neighbours, cosines


def mean_of_neighbours(neighbours: np.ndarray) -> sparse.csr_array:
    """Return the matrix that takes the mean over each item's neighbours, ``(items, items)``.

    The row of an item without any is empty.

    Parameters
    ----------
    neighbours
        As `nearest_items` returns them, ``(items, k)``.
    """
    is_there = neighbours != NO_ITEM
    counts = is_there.sum(axis=1)
    rows, _ = is_there.nonzero()
    values = (1.0 / counts[rows]).astype(np.float32)
    shape = (len(neighbours), len(neighbours))
    return sparse.csr_array((values, (rows, neighbours[is_there])), shape=shape)
