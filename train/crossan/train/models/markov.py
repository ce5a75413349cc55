r"""The decayed Markov chain, the line that every sequence model must pass.

With :math:`F_{ij} = \sum d_f^{g - 1}` over all places of the training parts at which
item j comes g <= r places after item i, and :math:`i_0, i_1, ...` the history of
user u, the last item first,

.. math:: s_{uj} = \sum_{a < w} d^a F_{i_a j}.

No publication has just this rule. It is a chain of first order with skips (He and
McAuley, 2016, "Fusing similarity models with Markov chains", and Cosley et al.'s
item-to-item skips are its kin) and costs one pass over the data. The defaults were
set on validation of MicroLens-50K, and are half-lives rather than optima.
"""

from __future__ import annotations

from crossan.train.layers.item_pairs import ItemPairs
from crossan.train.models.bigram import followers
from crossan.train.models.pair_model import PairModel
from crossan.train.models.recommender import ModelContext
from crossan.train.sequences.flat import training_parts
from crossan.train.settings import ChainSettings

__all__ = ["build"]


def build(settings: ChainSettings, context: ModelContext) -> PairModel:
    """Count what followed what, and how soon, in all training parts."""
    table = followers(
        training_parts(context.seen),
        len(context.counts),
        reach=settings.reach,
        decay=settings.gap_decay,
    )
    return PairModel(ItemPairs(table), settings.decay, settings.window)
