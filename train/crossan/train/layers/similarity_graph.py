r"""The graph of items whose edges weigh as much as their items are alike.

Each item keeps its nearest ones, itself among them, with their cosines :math:`s_{ij}`. With
:math:`d_i = \sum_j s_{ij}` over those that row i keeps, an edge weighs
:math:`s_{ij} / \sqrt{d_i d_j}`. The graph is directed: an item may be near to one that has nearer ones.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse
from torch import Tensor

from crossan.cache_schema.errors import ConfigError
from crossan.cache_schema.modality import Modality
from crossan.train.layers.item_graph import NO_ITEM, nearest_items

__all__ = ["similarity_graph"]


def similarity_graph(
    vectors: Tensor, is_present: Tensor, neighbours: int, modality: Modality
) -> sparse.csr_array:
    """Return the graph of one modality, ``(items, items)`` float32.

    Parameters
    ----------
    vectors
        Features as they are stored, ``(items, dim)``.
    is_present
        Which items have the modality, ``(items,)`` bool. The rows and columns of others are empty.
    neighbours
        Items that each keeps at most.
    modality
        What errors name.

    Raises
    ------
    ConfigError
        The cosines that an item keeps have a negative sum, which has no root.
    """
    nearest, cosines = nearest_items(vectors, is_present, neighbours)
    sums = cosines.sum(axis=1, dtype=np.float64)
    negative = np.flatnonzero(sums < 0)
    if len(negative):
        raise ConfigError(
            f"model.neighbours: expected the {neighbours} nearest items of each to be alike in"
            f" {modality.value}, found {len(negative):,} of {len(sums):,} items whose similarities"
            f" have a negative sum, first that of row {negative[0]}",
            remedy="Name fewer of them: --set model.neighbours=1",
        )
    is_kept = nearest != NO_ITEM
    rows, _ = is_kept.nonzero()
    columns = nearest[is_kept]
    inverse_roots = np.divide(1.0, np.sqrt(sums), out=np.zeros_like(sums), where=sums > 0)
    weights = cosines[is_kept] * inverse_roots[rows] * inverse_roots[columns]
    shape = (len(sums), len(sums))
    return sparse.csr_array((weights.astype(np.float32), (rows, columns)), shape=shape)
