"""From the hidden states of an item to its vector.

Towers make one output per modality, and a fusion, chosen by name
(``model.fusion``), makes one vector of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

from torch import Tensor, nn

from crossan.cache_schema.errors import ConfigError, UsageError
from crossan.common.code_names import load_code, names_code
from crossan.common.plugins import load_plugin
from crossan.train.layers.frozen_towers import FrozenTowers
from crossan.train.layers.momef import Momef
from crossan.train.layers.tower import SideAdapterTowers
from crossan.train.settings import ContentSettings
from crossan.train.settings.content import FUSIONS_GROUP, MOMEF

__all__ = ["ItemEncoder", "MakeFusion", "make_fusion", "require_choice"]

MakeFusion = Callable[[int, int], nn.Module]
"""What the entry points of ``crossan.fusions`` are.

From the number of modalities and the width to a module that is called with the
towers' outputs ``(items, modality, width)`` and presence ``(items, modality)``
bool, and returns item vectors ``(items, width)``. What stands in the row of an
absent modality is zero."""


class ItemEncoder(nn.Module):
    """Make one vector per item by towers and their fusion.

    Shapes
    ------
    ``hidden``: one ``(items, layer, dim_m)`` per modality in the order of
    `Modality`, in any float dtype; ``presence``: ``(items, modality)`` bool;
    result: ``(items, width)``.
    """

    def __init__(self, towers: SideAdapterTowers | FrozenTowers, fusion: nn.Module) -> None:
        super().__init__()
        self.towers, self.fusion = towers, fusion

    def forward(self, hidden: Sequence[Tensor], presence: Tensor) -> Tensor:
        """Return the item vectors, shape ``(items, width)``."""
        return self.fusion(self.towers(hidden, presence), presence)  # type: ignore[no-any-return]

    def plain(self, hidden: Sequence[Tensor], presence: Tensor) -> Tensor:
        """Return the same by plain modules and autograd.

        This is the slow twin of `forward`.
        """
        return self.fusion(self.towers.plain(hidden, presence), presence)  # type: ignore[no-any-return]


def make_fusion(settings: ContentSettings, modality_count: int) -> nn.Module:
    """Return the fusion that settings name, with random weights.

    Raises
    ------
    ConfigError
        The package that brings it cannot be loaded, or code of the user's own cannot be used.
    """
    if names_code(settings.fusion):
        return _own_fusion(settings, modality_count)
    if settings.fusion == MOMEF:
        top_k = min(settings.top_k, modality_count)
        return Momef(modality_count, settings.width, top_k, settings.combine)
    make = cast(MakeFusion, load_plugin(FUSIONS_GROUP, settings.fusion, [MOMEF]))
    return make(modality_count, settings.width)


def _own_fusion(settings: ContentSettings, modality_count: int) -> nn.Module:
    make = load_code(settings.fusion, "model.fusion")
    fusion = make(modality_count, settings.width) if callable(make) else make
    if not isinstance(fusion, nn.Module):
        raise ConfigError(
            f"model.fusion={settings.fusion}: expected a subclass of nn.Module, or a function that"
            f" returns one from the number of modalities and the width, got {make!r}"
        )
    return fusion


def require_choice(settings: ContentSettings, modality_count: int) -> None:
    """Refuse to choose more modalities per item than are in use.

    Raises
    ------
    UsageError
        ``model.top_k`` is higher than the number of modalities.
    """
    if settings.fusion == MOMEF and settings.top_k > modality_count:
        raise UsageError(
            f"model.top_k: expected at most {modality_count}, the modalities in use, got"
            f" {settings.top_k}",
            remedy=f"--set model.top_k={modality_count}",
        )
