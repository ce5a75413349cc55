"""AdamW, fused, with rates of their own for the side adapters and the vectors of item ids."""

from __future__ import annotations

from crossan.train.loop.adamw import AdamW, Group
from crossan.train.loop.schedule import ID_RATE
from crossan.train.models.recommender import ParameterGroups
from crossan.train.settings import OptimiserSettings

__all__ = ["make_optimiser"]


def make_optimiser(parameters: ParameterGroups, settings: OptimiserSettings) -> AdamW:
    """Return the optimiser of all parameters, in groups of one rate."""
    # A checkpoint numbers the parameters in this order: another would read old ones wrongly.
    rates = (
        ("adapter_lr", parameters.adapters, settings.adapter_lr),
        ("lr", parameters.rest, settings.lr),
        (ID_RATE, parameters.ids, settings.id_lr),
        (
            "text_lr",
            parameters.text,
            settings.adapter_lr if settings.text_lr is None else settings.text_lr,
        ),
    )
    groups = [Group(params=of_rate, lr=rate, name=name) for name, of_rate, rate in rates if of_rate]
    return AdamW(groups, settings.weight_decay)
