"""The features and graphs that models with a view of every modality are built of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from torch import Tensor

from crossan.cache_schema.modality import Modality
from crossan.train.layers.graph import normalised_bipartite
from crossan.train.layers.similarity_graph import similarity_graph
from crossan.train.layers.sparse_matrix import SparseMatrix
from crossan.train.layers.training_pairs import TrainingPairs

__all__ = ["ModalityFeatures", "ViewGraphs", "view_graphs"]


@dataclass(frozen=True, slots=True)
class ModalityFeatures:
    """The features of one modality."""

    modality: Modality

    table: Tensor
    """As they are stored, ``(items, dim)``, zero where absent."""

    is_present: Tensor
    """Which items have the modality, ``(items,)`` bool."""


@dataclass(frozen=True, slots=True)
class ViewGraphs:
    """The graph of users and items, the way from items to all nodes, and the graphs of items."""

    nodes: SparseMatrix
    """Users first, ``(users + items, users + items)``, divided by the roots of both degrees."""

    from_items: SparseMatrix
    """Its columns of items, where each item has an edge of weight 1 to itself alone,
    ``(users + items, items)``: from vectors of items to those of all nodes."""

    items: tuple[SparseMatrix, ...]
    """Of each modality, the items that are alike in it, ``(items, items)``."""

    def propagated(self, modality: int, items: Tensor, hops: int) -> Tensor:
        """Return a table of items ``(items, width)`` after some hops over one modality's graph."""
        for _ in range(hops):
            items = self.items[modality] @ items
        return items


def view_graphs(
    pairs: TrainingPairs, features: Sequence[ModalityFeatures], neighbours: int
) -> ViewGraphs:
    """Return the graphs of a run.

    Parameters
    ----------
    pairs
        The pairs of users and their training items.
    features
        Those of every modality.
    neighbours
        Items that each keeps as alike.

    Raises
    ------
    ConfigError
        Some item's neighbours are not alike.
    """
    device, item_count = features[0].table.device, pairs.item_count
    nodes = normalised_bipartite(pairs.users, pairs.items, pairs.user_count, item_count)
    of_users = nodes[: pairs.user_count, pairs.user_count :]
    itself = sparse.eye_array(item_count, dtype=np.float32)
    from_items = sparse.csr_array(sparse.vstack([of_users, itself], format="csr"))
    return ViewGraphs(
        SparseMatrix(nodes, device, is_symmetric=True),
        SparseMatrix(from_items, device, is_symmetric=False),
        tuple(
            SparseMatrix(
                similarity_graph(one.table, one.is_present, neighbours, one.modality),
                device,
                is_symmetric=False,
            )
            for one in features
        ),
    )
