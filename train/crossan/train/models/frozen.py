"""Frozen features without side adapters, the baseline that shows what these add."""

from __future__ import annotations

from crossan.train.layers.frozen_towers import FrozenTowers
from crossan.train.models.item_encoder import ItemEncoder, make_fusion
from crossan.train.models.recommender import ModelContext
from crossan.train.models.sequence_model import SequenceModel, make_content_model
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
    return make_content_model(settings, context, item_encoder)
