"""AdamW, fused, with rates of their own for the side adapters and the vectors of item ids."""

from __future__ import annotations

import torch

from crossan.train.models.sequence_model import Crossan
from crossan.train.settings import OptimiserSettings

__all__ = ["make_optimiser"]


def make_optimiser(model: Crossan, settings: OptimiserSettings) -> torch.optim.Optimizer:
    """Return the optimiser of all parameters, in groups of one rate."""
    towers = [] if model.item_encoder is None else list(model.item_encoder.towers.parameters())
    ids = [] if model.id_embedding is None else list(model.id_embedding.parameters())
    own = {id(parameter) for parameter in (*towers, *ids)}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in own]
    rates = ((towers, settings.adapter_lr), (rest, settings.lr), (ids, settings.id_lr))
    groups = [{"params": parameters, "lr": rate} for parameters, rate in rates if parameters]
    return torch.optim.AdamW(groups, weight_decay=settings.weight_decay, fused=True)
