"""SASRec (Kang and McAuley, 2018) over item ids, under our objective and protocol.

Three deviations from the published model: the loss is that of the run's
objective in place of one sampled negative per position, item vectors start at
a standard deviation of 0.02, and an item that training never saw stays at zero.
"""

from __future__ import annotations

from crossan.train.layers.id_embedding import IdEmbedding
from crossan.train.models.recommender import ModelContext
from crossan.train.models.sequence_model import SequenceModel, make_sequence_encoder
from crossan.train.settings import SasrecSettings

__all__ = ["build"]


def build(settings: SasrecSettings, context: ModelContext) -> SequenceModel:
    """Build the model with random weights for the items of a run."""
    sequence_encoder = make_sequence_encoder(settings, context.input_length)
    return SequenceModel(None, sequence_encoder, IdEmbedding(context.is_trained(), settings.width))
