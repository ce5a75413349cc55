"""Whether a recipe can be run here, and what is missing where not."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from crossan.train.recipes.catalogue import sources_of
from crossan.train.recipes.extraction import is_made_as
from crossan.train.recipes.recipe import DATASETS, Recipe

if TYPE_CHECKING:
    from crossan.cache_schema.identity import StoreIdentity

__all__ = ["BACKBONES", "Here", "State", "is_built", "look_here", "state_of"]

BACKBONES = {
    "text": ("google-bert/bert-base-uncased", "Apache-2.0"),
    "image": ("google/vit-base-patch16-224", "Apache-2.0"),
    "audio": ("MIT/ast-finetuned-audioset-10-10-0.4593", "BSD-3-Clause"),
    "video": ("MCG-NJU/videomae-base", "CC-BY-NC-4.0, not for commercial use"),
}
"""The paper's backbones on the Hugging Face hub by modality, with the licences of their model
cards. A test compares them with those of ``crossan backbones ls``."""


@dataclass(frozen=True, slots=True)
class Here:
    """What is on this machine."""

    dataset: str | None = None
    """Key of the paper's dataset in the folder that was named, None where it holds none."""

    stored: frozenset[str] = frozenset()
    """Modalities that the cache that was named has stores of, for that dataset."""

    identities: tuple[StoreIdentity, ...] = ()
    """What those stores are, without any that cannot be read."""


@dataclass(frozen=True, slots=True)
class State:
    """Whether a recipe can be run."""

    name: Literal["ready", "needs data", "model not built"]

    missing: tuple[str, ...] = ()
    """What is missing and where it is to be had, a line for each."""


def look_here(dataset: Path | None, cache: Path | None) -> Here:
    """Return which of the paper's data lies in a dataset folder and a cache.

    Parameters
    ----------
    dataset, cache
        Folders, None where none was named. A dataset that cannot be opened is none.
    """
    from crossan.cache_schema.errors import CrossanError

    if dataset is None:
        return Here()
    from crossan.common.datasets import open_dataset

    try:
        opened = open_dataset(dataset)
    except CrossanError:
        return Here()
    key = next((one.key for one in DATASETS.values() if one.is_told_by(opened.counts)), None)
    if cache is None or key is None:
        return Here(key)
    from crossan.common.stores.folders import find_stores, read_identity

    stores = find_stores(cache, opened.name)
    identities = []
    for store in stores:
        with suppress(CrossanError):
            identities.append(read_identity(store))
    return Here(key, frozenset(store.parent.name for store in stores), tuple(identities))


def is_built(recipe: Recipe) -> bool:
    """Whether this installation has the model of a recipe, with its fusion and its split."""
    from crossan.common.config import OneOf
    from crossan.train.settings.kinds import model_settings_classes
    from crossan.train.settings.run import DataSettings

    classes = model_settings_classes()
    if recipe.kind not in classes:
        return False
    fusion = recipe.settings.get("model.fusion")
    if fusion is not None:
        marks = classes[recipe.kind].model_fields["fusion"].metadata
        if not any(fusion in mark.names() for mark in marks if isinstance(mark, OneOf)):
            return False
    return "data.split" not in recipe.settings or "split" in DataSettings.model_fields


def state_of(recipe: Recipe, here: Here) -> State:
    """Return whether a recipe can be run on what is here."""
    if not is_built(recipe):
        return State("model not built", (f"{recipe.model} is not among the models of crossan",))
    missing = []
    if here.dataset != recipe.dataset.key:
        users, items, interactions = recipe.dataset.published
        missing.append(
            f"dataset {recipe.dataset.title} ({users:,} users, {items:,} items,"
            f" {interactions:,} interactions): {recipe.dataset.published_at}"
        )
    for source in sources_of(recipe):
        if not any(is_made_as(source, identity) for identity in here.identities):
            line = f"{source.modality} features, by {source.backbone} ({source.licence})"
            if source.made_by is not None:
                line += f": {source.made_by.format(dataset='DATASET', cache='CACHE')}"
            missing.append(line)
    for modality in () if recipe.stores else recipe.modality:
        # Weights of backbones that are trained come from the hub when the run begins.
        if modality not in here.stored and not recipe.reads_media:
            backbone, licence = BACKBONES[modality]
            missing.append(f"{modality} features, by {backbone} ({licence})")
    return State("needs data", tuple(missing)) if missing else State("ready")
