"""Checking a spec at the door: the same settings, and the same messages, as `crossan-train`."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from itertools import pairwise
from math import isfinite
from typing import Any

from crossan.cache_schema.errors import ConfigError, UsageError
from crossan.common.config import Base, load_settings
from crossan.common.config.bounds import require_bounded
from crossan.common.config.sources import nested
from crossan.train.recipes.catalogue import find_recipe, require_one_training
from crossan.train.service.nights.datasets import DatasetPlace, dataset_at
from crossan.train.service.nights.open_settings import code_in, leaves, open_settings
from crossan.train.service.nights.stores import choose
from crossan.train.service.settings import ServiceSettings
from crossan.train.service.specs import NightSpec, RunSpec
from crossan.train.settings import RunSettings
from crossan.train.settings.unread import require_read

__all__ = ["SpecError", "check_spec", "checked_settings"]

_SAID_BESIDE = {"data.dataset": "dataset", "data.store": "stores"}
"""Fields of a spec that say what these settings say on a command line; others have one name."""


class SpecError(ConfigError):
    """A field of a spec has a value that it cannot take.

    Parameters
    ----------
    message, remedy
        As every error's.
    field
        Which field, dotted.
    """

    def __init__(self, message: str, *, field: str, remedy: str | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.field = field


def check_spec(spec: RunSpec, settings: ServiceSettings) -> dict[str, Any]:
    """Return the settings of the run that a spec asks for, as plain JSON.

    Parameters
    ----------
    spec
        What a client sent; a `NightSpec` is checked in what is its own, too.
    settings
        The operator's.

    Raises
    ------
    ConfigError
        A setting is unknown, has a value that it cannot take, or is none that a client may give:
        one that may hold a path or name code.
    UsageError
        No such dataset, recipe or store, or no backbone for a modality that is to be extracted.
    """
    dataset = dataset_at(spec.dataset, settings)
    checked = checked_settings(spec, dataset, settings)
    require_read(checked)
    _check_stores(spec, checked, dataset, settings)
    if isinstance(spec, NightSpec):
        _check_night(spec, settings)
    resolved: dict[str, Any] = checked.model_dump(mode="json")
    return resolved


def checked_settings(
    spec: RunSpec, dataset: DatasetPlace, settings: ServiceSettings
) -> RunSettings:
    """Return the settings of the run that a spec asks for, without ``init`` and ``data.store``.

    Raises
    ------
    ConfigError, UsageError
        As `check_spec`, for the recipe and the settings.
    """
    given = _closed(spec.settings)
    bases = []
    if spec.recipe is not None:
        recipe = find_recipe(spec.recipe)
        require_one_training(recipe)
        bases.append(Base(f"recipe {recipe.name}", recipe.settings))
    bases.append(Base("settings", given))
    ours = {"data.dataset": str(dataset.path), "data.cache": settings.cache, "seed": spec.seed}
    # Without the variables of the server's own environment: a spec means the same everywhere.
    return load_settings(RunSettings, environment={}, bases=[*bases, Base("the service", ours)])


def _closed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a spec nested by group, if a client may give each of them."""
    require_bounded(values, "settings")
    given = sorted(leaves(values), key=lambda leaf: leaf[0])
    for (name, _), (following, _) in pairwise(given):
        if name == following:
            raise SpecError(f"settings: {name} is given twice", field=f"settings.{name}")
    # Sorted, so that a group which is a value, too, comes before what is in it, and is refused.
    tree = nested(dict(given), "settings")
    try:
        today = RunSettings.upgraded(deepcopy(tree))
    except ValueError as error:
        raise SpecError(f"settings: {error}", field="settings") from None
    refused = {*open_settings(RunSettings), *RunSpec.model_fields}
    # As they were written and as they are read: an earlier name may stand for one of today's.
    for name, value in (*given, *leaves(today)):
        if name in refused:
            raise _not_a_clients(name)
        if isinstance(value, float) and not isfinite(value):
            raise SpecError(
                f"settings: {name}: expected a finite number, found {value}",
                field=f"settings.{name}",
            )
        if (code := code_in(value)) is not None:
            raise SpecError(
                f"settings: {name}={code:.80}: expected the name of a part that is installed,"
                " found the name of code, which no spec may give",
                field=f"settings.{name}",
                remedy=f"Have the operator install it as a package, or leave {name} out",
            )
    return tree


def _not_a_clients(name: str) -> SpecError:
    field = name if name in RunSpec.model_fields else _SAID_BESIDE.get(name)
    remedy = f"Give '{field}' of the spec instead" if field else f"Leave {name} out"
    is_text = name in open_settings(RunSettings)
    reason = "may hold a path or any text" if is_text else "is a field of the spec itself"
    return SpecError(
        f"settings: {name}: expected no such setting in a spec, as it {reason}",
        field=f"settings.{name}",
        remedy=remedy,
    )


def _check_stores(
    spec: RunSpec, checked: RunSettings, dataset: DatasetPlace, settings: ServiceSettings
) -> None:
    if spec.stores and not checked.model.reads_hidden_states:
        raise SpecError(
            f"stores: expected none with model.kind={checked.model.kind}, which reads no hidden"
            " states",
            field="stores",
        )
    modalities = [choice.modality for choice in spec.stores]
    twice = {modality for modality in modalities if modalities.count(modality) > 1}
    if twice:
        raise SpecError(
            f"stores: expected one of each modality, found several of {', '.join(sorted(twice))}",
            field="stores",
        )
    for choice in spec.stores:
        choose(choice, settings, dataset.description.name)


def _check_night(spec: NightSpec, settings: ServiceSettings) -> None:
    for modality in spec.extract:
        if modality not in settings.backbones:
            raise UsageError(
                f"extract: expected a backbone for {modality} in service.toml, found none",
                remedy=f"Have the operator set backbones.{modality} in service.toml",
            )
    for choice in spec.stores:
        if choice.version is not None and choice.modality in spec.extract:
            raise SpecError(
                f"stores: version {choice.version} of {choice.modality}, which the night brings up"
                " to date and would then not read",
                field="stores",
                remedy=f"Leave out the version, or {choice.modality} from 'extract'",
            )
