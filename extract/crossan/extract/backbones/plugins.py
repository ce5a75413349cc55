"""Backbone families that other distributions bring by an entry point.

In the group ``crossan.backbones`` the entry point's name is the ``model_type``
and its target a `Family`, or a function without arguments that returns one.
Only the family that a checkpoint needs is ever loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from typing import Any

from crossan.cache_schema.errors import UsageError
from crossan.cache_schema.modality import Modality
from crossan.common.plugins import PLUGIN_ERRORS, distribution_of, label_of, rivals_of
from crossan.extract.backbones.families import FAMILIES, Family

__all__ = ["family_of", "find_family", "plugin_names"]

_GROUP = "crossan.backbones"


def plugin_names() -> dict[str, str]:
    """Return the distribution of each plug-in family by ``model_type``, loading none."""
    points = sorted(metadata.entry_points(group=_GROUP))
    return {point.name: distribution_of(point) for point in points}


def find_family(model_type: str) -> Family | None:
    """Return the family of this ``model_type``, built in or from a plug-in.

    None stands for a ``model_type`` that nobody brings.

    Raises
    ------
    UsageError
        Its plug-in cannot be loaded, is no `Family` of this name, or the name is taken.
    """
    points = [point for point in metadata.entry_points(group=_GROUP) if point.name == model_type]
    built_in = FAMILIES.get(model_type)
    if not points:
        return built_in
    rivals = rivals_of(points, is_ours=built_in is not None)
    if rivals:
        raise UsageError(
            f"backbone plug-in {label_of(points[0])}: "
            f"model_type {model_type} is also brought by {rivals[0]}",
            remedy=f"pip uninstall {distribution_of(points[0])}  (or rename its entry point)",
        )
    return _load_plugin(points[0])


def family_of(config: Mapping[str, Any], modality: Modality, source: str) -> Family:
    """Return the family of a checkpoint's config.

    Raises
    ------
    UsageError
        An unknown ``model_type``, one of another modality, or a plug-in that does not load.
    """
    model_type = str(config.get("model_type"))
    family = find_family(model_type)
    if family is None:
        plugins = [f"{name} ({distribution})" for name, distribution in plugin_names().items()]
        raise UsageError(
            f"--backbone {source}: "
            f"expected model_type one of {', '.join([*FAMILIES, *plugins])}, found {model_type:.60}",
            remedy="To bring your own family: docs/howto/bring-your-own-backbone.md",
        )
    if family.modality is not modality:
        raise UsageError(
            f"--backbone {source}: expected a {modality.value} backbone, "
            f"found {model_type}, which reads {family.modality.value}",
            remedy=f"crossan-extract --modality {family.modality.value} --backbone {source}",
        )
    return family


def _load_plugin(point: metadata.EntryPoint) -> Family:
    plugin = f"backbone plug-in {label_of(point)}"
    try:
        target = point.load()
        family = target if isinstance(target, Family) else target()
    except PLUGIN_ERRORS as error:
        raise UsageError(
            f"{plugin} could not be loaded: {type(error).__name__}: {error}",
            remedy=f"pip install --upgrade {distribution_of(point)}",
        ) from error
    if not isinstance(family, Family):
        raise UsageError(f"{plugin}: expected a Family, found {type(family).__name__}")
    if family.model_type != point.name:
        raise UsageError(
            f"{plugin}: expected a Family with model_type {point.name}, found {family.model_type}"
        )
    return family
