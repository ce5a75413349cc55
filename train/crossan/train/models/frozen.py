"""Frozen features without side adapters, the baseline that shows what these add."""

from __future__ import annotations

from crossan.train.layers.frozen_towers import FrozenTowers
from crossan.train.layers.id_embedding import IdEmbedding
from crossan.train.models.item_encoder import ItemEncoder, make_fusion
from crossan.train.models.recommender import ModelContext
from crossan.train.models.sequence_model import SequenceModel, make_sequence_encoder
from crossan.train.settings import FrozenSettings

__all__ = ["build"]


def build(settings: FrozenSettings, context: ModelContext) -> SequenceModel:
    """Build the model with random weights for the stores of a run.

    The heads of the towers read the highest kept hidden state; there is no
    gate and no adapter. Fusion and sequence encoder are CROSSAN's.
    """
    dims = context.features.dims
    towers = FrozenTowers(dims, settings.width)
    item_encoder = ItemEncoder(towers, make_fusion(settings, len(dims)))
    sequence_encoder = make_sequence_encoder(settings, context.input_length)
    # Drawn last: every other weight begins as it does without a vector per id.
    ids = IdEmbedding(context.is_trained(), settings.width) if settings.id_embedding else None
    return SequenceModel(item_encoder, sequence_encoder, ids)
