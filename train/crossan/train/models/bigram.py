r"""The bigram chain, a Markov chain of first order over items.

With :math:`n_{ij}` how often item j came right after item i in a training part, and
i the last item of user u, :math:`s_{uj} = n_{ij}`. Dividing by how often i occurs
would change no user's order, so it is left out, and scores are counts.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from crossan.train.layers.item_pairs import ItemPairs
from crossan.train.models.pair_model import PairModel
from crossan.train.models.recommender import ModelContext
from crossan.train.sequences.flat import FlatSequences, training_parts
from crossan.train.settings import BigramSettings

__all__ = ["build", "followers"]


def build(settings: BigramSettings, context: ModelContext) -> PairModel:
    """Count what followed what in all training parts."""
    del settings  # there is nothing to choose
    table = followers(training_parts(context.seen), len(context.counts), reach=1)
    return PairModel(ItemPairs(table), window=1)


def followers(
    parts: FlatSequences, item_count: int, *, reach: int, decay: float = 1.0
) -> sparse.csr_array:
    r"""Return how often, and how soon, items followed others, ``(items, items)``.

    An item that comes g places after another counts :math:`d^{g - 1}`.

    Parameters
    ----------
    parts
        Training parts.
    item_count
        Items of the catalogue.
    reach
        Places between two items that count at most.
    decay
        What one more place takes away, d.
    """
    table = sparse.csr_array((item_count, item_count))
    for gap in range(1, reach + 1):
        is_same_user = parts.users[gap:] == parts.users[:-gap]
        places = (parts.items[:-gap][is_same_user], parts.items[gap:][is_same_user])
        weights = np.full(int(is_same_user.sum()), decay ** (gap - 1))
        table = table + sparse.csr_array((weights, places), shape=table.shape)
    return sparse.csr_array(table)
