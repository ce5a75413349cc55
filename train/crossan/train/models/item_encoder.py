"""From the hidden states of an item to its vector.

Towers make one output per modality, and a fusion makes one vector of them: the
one that ``model.fusion`` names, or the one that belongs to the towers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from crossan.cache_schema.errors import ConfigError, UsageError
from crossan.common.code_names import load_code, names_code
from crossan.common.plugins import load_plugin, plugin_names
from crossan.train.layers.frozen_towers import FrozenTowers
from crossan.train.layers.fusions import ConcatFusion, DynamicGateFusion, StaticGateFusion
from crossan.train.layers.iisan_towers import IisanTowers
from crossan.train.layers.momef import Momef
from crossan.train.layers.tower import SideAdapterTowers
from crossan.train.settings import (
    AdapterSettings,
    ContentSettings,
    HiddenStateSettings,
    HybridOfRunsSettings,
    IisanSettings,
    ModelSettings,
)
from crossan.train.settings.content import FUSIONS, FUSIONS_GROUP, MOMEF
from crossan.train.settings.tower import Tower, modality_of
from crossan.train.settings.triples import VbprSettings

__all__ = [
    "ItemEncoder",
    "MakeFusion",
    "adapter_dtype",
    "make_fusion",
    "require_modalities",
    "require_single_stores",
]

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

    def __init__(
        self, towers: SideAdapterTowers | IisanTowers | FrozenTowers, fusion: nn.Module
    ) -> None:
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

    def adapter_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the towers."""
        return [*self.towers.parameters()]

    def text_parameters(self) -> list[nn.Parameter]:
        """Return nothing, as no backbone is trained."""
        return []


_MAKE_FUSION: dict[str, MakeFusion] = {
    "dynamic-gate": DynamicGateFusion,
    "static-gate": lambda modality_count, _: StaticGateFusion(modality_count),
    "concat": ConcatFusion,
}
"""Our own fusions beside MOMEF, which alone has settings."""


_HALF_OR_SINGLE = (torch.float32, torch.bfloat16, torch.float16)


def make_fusion(settings: ContentSettings, modality_count: int) -> nn.Module:
    """Return the fusion that settings name, with random weights.

    Raises
    ------
    ConfigError
        The package that brings it cannot be loaded or uses the name of one of ours, or code of
        the user's own cannot be used.
    """
    if names_code(settings.fusion):
        return _others_fusion(load_code(settings.fusion, "model.fusion"), settings, modality_count)
    make = _MAKE_FUSION.get(settings.fusion)
    if settings.fusion in plugin_names(FUSIONS_GROUP):
        plugin = load_plugin(FUSIONS_GROUP, settings.fusion, FUSIONS)
        return _others_fusion(plugin, settings, modality_count)
    if make is None:
        top_k = min(settings.top_k, modality_count)
        return Momef(modality_count, settings.width, top_k, settings.combine)
    return make(modality_count, settings.width)


def _others_fusion(make: object, settings: ContentSettings, modality_count: int) -> nn.Module:
    fusion = make(modality_count, settings.width) if callable(make) else make
    if not isinstance(fusion, nn.Module):
        raise ConfigError(
            f"model.fusion={settings.fusion}: expected a subclass of nn.Module, or a function that"
            f" returns one from the number of modalities and the width, got {make!r}"
        )
    fusion.register_forward_hook(_VectorsRequired(settings.fusion, settings.width))
    return fusion


@dataclass(frozen=True, slots=True)
class _VectorsRequired:
    """Refuse what a fusion of the user's own gives where it is no item vectors.

    Where it is read the error would be torch's, of a line that the user does not know.
    """

    name: str
    width: int

    def __call__(self, _: nn.Module, inputs: tuple[Any, ...], given: object) -> None:
        """Take what was given, as a hook of torch does after a forward pass."""
        outputs: Tensor = inputs[0]
        expected = (len(outputs), self.width)
        if isinstance(given, Tensor) and given.shape == expected and given.dtype in _HALF_OR_SINGLE:
            return
        described = (
            f"{tuple(given.shape)} {str(given.dtype).removeprefix('torch.')}"
            if isinstance(given, Tensor)
            else type(given).__name__
        )
        raise ConfigError(
            f"model.fusion={self.name}: expected item vectors (items, width) = {expected} float32,"
            f" got {described}"
        )


def adapter_dtype(settings: AdapterSettings) -> torch.dtype | None:
    """Return what the adapters compute in, None for float32.

    Raises
    ------
    ValueError
        ``model.compute`` is still ``auto``.
    """
    if settings.compute == "auto":
        raise ValueError("expected model.compute to be settled before building, got 'auto'")
    return torch.bfloat16 if settings.compute == "bfloat16" else None


def require_modalities(settings: ModelSettings, tower_count: int) -> None:
    """Refuse a model that needs another number of towers than there are.

    Parameters
    ----------
    settings
        The model's.
    tower_count
        Its towers, one for each store that is read.

    Raises
    ------
    UsageError
        ``model.top_k`` is higher than its default and the number of towers, or IISAN has
        others than two.
    """
    if isinstance(settings, IisanSettings) and tower_count != 2:
        raise UsageError(
            f"model.kind=iisan: expected two modalities, as its code has, got {tower_count};"
            " iisan-e takes any number",
            remedy="--model iisan-e",
        )
    if not isinstance(settings, ContentSettings) or settings.fusion != MOMEF:
        return
    default = ContentSettings.model_fields["top_k"].default
    if settings.top_k > max(tower_count, default):
        raise UsageError(
            f"model.top_k: expected at most {tower_count}, the number of towers, one for each store"
            f" that is read, got {settings.top_k}",
            remedy=f"--set model.top_k={tower_count}",
        )


def require_single_stores(settings: ModelSettings, towers: Iterable[Tower]) -> None:
    """Refuse several stores of one modality for a model that tells modalities apart.

    Raises
    ------
    UsageError
        Two of the towers read one modality.
    """
    # The runs of a hybrid were asked, each for itself.
    if isinstance(settings, HiddenStateSettings | VbprSettings | HybridOfRunsSettings):
        return
    counts = Counter(map(modality_of, towers))
    repeated = [modality.value for modality, count in counts.items() if count > 1]
    if repeated:
        raise UsageError(
            f"--model {settings.kind}: expected one store of each modality, found several of"
            f" {', '.join(repeated)}, which crossan, indsan, iisan, iisan-e, frozen and vbpr read"
            " alone",
            remedy=f"Name one store of {repeated[0]}: --store FOLDER",
        )
