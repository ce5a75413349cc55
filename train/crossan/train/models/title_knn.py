r"""Title-kNN, the items whose titles are most like those of the last items.

With :math:`x_i` the TF-IDF vector of title i (`crossan.train.layers.title_terms`) and
:math:`i_0, i_1, ...` the history of user u, the last item first,

.. math:: s_{uj} = \sum_{a < w} d^a \langle x_{i_a}, x_j \rangle,

where of every item the ``model.neighbours`` most alike count. Titles come from the
dataset, not from a store. No training part is read: an item is found by its title
before anybody had it, also one that the dataset gained after the run. An item
without a title scores 0.
"""

from __future__ import annotations

from scipy import sparse

from crossan.cache_schema.errors import DataError
from crossan.train.layers.item_pairs import ItemPairs, best_pairs
from crossan.train.layers.title_terms import term_vectors
from crossan.train.models.pair_model import PairModel
from crossan.train.models.recommender import ModelContext
from crossan.train.settings import TitleKnnSettings

__all__ = ["build"]


def build(settings: TitleKnnSettings, context: ModelContext) -> PairModel:
    """Compare the titles of all items.

    Raises
    ------
    DataError
        No item has a title.
    """
    titles = context.titles()
    if not any(titles):
        raise DataError(
            "expected titles of items, which model.kind=title-knn compares (and hybrid, unless"
            f" model.title_weight is 0), found none for {len(titles):,} items",
            remedy="Import the dataset with its titles: crossan data import SRC --items FILE",
        )
    vectors = term_vectors(
        titles, characters=settings.characters, largest_share=settings.largest_share
    )
    by_term = sparse.csr_array(vectors.T)
    table = best_pairs(lambda rows: vectors[rows] @ by_term, len(titles), settings.neighbours)
    return PairModel(ItemPairs(table, follows_content=True), settings.decay, settings.window)
