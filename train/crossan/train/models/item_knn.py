r"""Item-kNN by cosine over users (Sarwar et al., 2001; Deshpande and Karypis, 2004).

With :math:`U_i` the users whose training part holds item i and h the shrinkage,

.. math:: P_{ij} = \frac{|U_i \cap U_j|}{\sqrt{|U_i| |U_j|} + h}, \qquad
   s_{uj} = \sum_{i \in H_u} P_{ij},

over the distinct items :math:`H_u` of the history. Of every item the
``model.neighbours`` most alike are kept. The order of a history plays no part.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from crossan.train.layers.item_pairs import ItemPairs, best_pairs
from crossan.train.models.pair_model import PairModel
from crossan.train.models.recommender import ModelContext
from crossan.train.sequences.flat import FlatSequences, training_parts
from crossan.train.settings import ItemKnnSettings

__all__ = ["build", "shared_users"]


def build(settings: ItemKnnSettings, context: ModelContext) -> PairModel:
    """Compare the items of all training parts by their users."""
    table = shared_users(
        training_parts(context.seen),
        len(context.counts),
        neighbours=settings.neighbours,
        shrinkage=settings.shrinkage,
    )
    return PairModel(ItemPairs(table), counts_repeats=False)


def shared_users(
    parts: FlatSequences, item_count: int, *, neighbours: int, shrinkage: float
) -> sparse.csr_array:
    """Return the cosine of items over users, ``(items, items)``, the largest of each row.

    Parameters
    ----------
    parts
        Training parts.
    item_count
        Items of the catalogue.
    neighbours, shrinkage
        See `ItemKnnSettings`.
    """
    ones = np.ones(len(parts.items))
    had = sparse.csr_array((ones, (parts.items, parts.users)), (item_count, parts.user_count))
    had.sum_duplicates()
    had.data[:] = 1.0  # who had an item twice had it
    user_counts = np.diff(had.indptr)
    had_by_user = sparse.csr_array(had.T)

    def cosines(rows: slice) -> sparse.csr_array:
        block = sparse.csr_array(had[rows] @ had_by_user)
        row_counts = np.repeat(user_counts[rows], np.diff(block.indptr))
        block.data /= np.sqrt(row_counts * user_counts[block.indices]) + shrinkage
        return block

    return best_pairs(cosines, item_count, neighbours)
