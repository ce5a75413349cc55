"""INDSAN, CROSSAN without its cross-modal terms (section 3.2, Tables 1 and 6).

"Each modality is processed independently by a frozen backbone and a
modality-specific adapter", and they meet in the fusion alone. The paper gives
no equation for a layer of it. Ours is Eq. 5 with the outputs of other towers
left out: the gate of a tower has two weights, for its own previous output and
its own hidden state, which sum to 1. Heads, fusion, sequence encoder and
initial weights are CROSSAN's, so that only the terms under test differ. It has
(M - 1) M fewer parameters a layer, all in the gates.
"""

from __future__ import annotations

from functools import partial

from crossan.train.layers.gate import IndependentGates
from crossan.train.layers.tower import SideAdapterTowers
from crossan.train.models.item_encoder import ItemEncoder, adapter_dtype, make_fusion
from crossan.train.models.recommender import ModelContext
from crossan.train.models.sequence_model import SequenceModel, make_content_model
from crossan.train.settings import IndsanSettings

__all__ = ["build"]


def build(settings: IndsanSettings, context: ModelContext) -> SequenceModel:
    """Build INDSAN with random weights for the stores of a run."""
    dims = context.features.dims
    towers = SideAdapterTowers(
        dims,
        context.features.layer_count,
        settings.bottleneck_dim,
        settings.width,
        adapter_dtype(settings),
        partial(IndependentGates, temperature=settings.gate_temperature),
        settings.activation,
    )
    item_encoder = ItemEncoder(towers, make_fusion(settings, len(dims)))
    return make_content_model(settings, context, item_encoder)
