"""CROSSAN, the paper's model of side-adapter towers, MOMEF and a sequence encoder (Eqs. 5-6)."""

from __future__ import annotations

from functools import partial

from crossan.train.layers.gate import CrossModalGates
from crossan.train.layers.tower import SideAdapterTowers
from crossan.train.models.item_encoder import ItemEncoder, adapter_dtype, make_fusion
from crossan.train.models.recommender import ModelContext
from crossan.train.models.sequence_model import SequenceModel, make_content_model
from crossan.train.settings import CrossanSettings

__all__ = ["build"]


def build(settings: CrossanSettings, context: ModelContext) -> SequenceModel:
    """Build CROSSAN with random weights for the stores of a run.

    ``combine="concat"`` gives the parameter count of Table 4; see
    `crossan.train.layers.momef`. ``id_embedding`` is no part of the paper.
    """
    dims = context.features.dims
    towers = SideAdapterTowers(
        dims,
        context.features.layer_count,
        settings.bottleneck_dim,
        settings.width,
        adapter_dtype(settings),
        partial(CrossModalGates, temperature=settings.gate_temperature),
        settings.activation,
    )
    item_encoder = ItemEncoder(towers, make_fusion(settings, len(dims)))
    return make_content_model(settings, context, item_encoder)
