"""The titles and media of a run that trains its backbones, decoded and kept."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crossan.cache_schema.errors import DataError, UsageError
from crossan.cache_schema.modality import Modality
from crossan.common.console import note
from crossan.common.contents.media_list import read_media
from crossan.common.datasets import Dataset, keep_sequences
from crossan.train.features.backbone_door import TrainableBackbone, open_backbone
from crossan.train.features.raw_inputs import RawSource
from crossan.train.features.sources import Served, cache_folder
from crossan.train.ranks.ranks import ALONE, Ranks
from crossan.train.settings import FineTunedSettings, RunSettings
from crossan.train.settings.tuned import PAPERS_MODALITIES

__all__ = ["another_run", "lock_backbones", "serve_media"]


def serve_media(settings: RunSettings, dataset: Dataset, ranks: Ranks = ALONE) -> Served:
    """Return the sequences of a run, and its backbones with the inputs of their items.

    What the cache lacks is decoded and prepared first, by one rank for all.

    Raises
    ------
    UsageError
        The dataset names nothing of a modality.
    DataError
        Some items have none of the modalities.
    CrossanError
        A backbone cannot be loaded, or a medium not be read for a reason that is no item's fault.
    """
    model, cache = settings.model, cache_folder(settings.data)
    assert isinstance(model, FineTunedSettings)  # the one kind that reads media
    backbones = {
        modality: open_backbone(modality, model.backbone_of(modality), model.max_length)
        for modality in _modalities(settings, dataset)
    }
    data, dropped = settings.data, set[str]()
    sources: dict[Modality, RawSource] = {}
    while True:
        kept = keep_sequences(
            dataset.interactions(),
            max_items=data.max_items,
            min_items=data.min_items,
            drop_items=dropped,
            split=data.parted_by,
        )
        item_ids = kept.item_ids.tolist()
        if not sources:
            # Of all items at once: without some of them no others are needed.
            sources = _prepared(backbones, dataset, cache, item_ids, ranks)
        bare = [item for item in item_ids if not any(each.has(item) for each in sources.values())]
        if not bare:
            break
        if not data.drop_items:
            raise _bare(bare, sources)
        dropped |= set(bare)
    if dropped:
        note(
            f"dropped {len(dropped):,} items without a modality (--drop-items), first:"
            f" {min(dropped)}"
        )
    return Served(kept, {}, sources)


def _prepared(
    backbones: Mapping[Modality, TrainableBackbone],
    dataset: Dataset,
    cache: Path,
    item_ids: list[str],
    ranks: Ranks,
) -> dict[Modality, RawSource]:
    """Return the backbones with the inputs of their items, which one rank prepares for all."""

    def prepare() -> dict[Modality, RawSource]:
        return {
            modality: RawSource(backbone, *backbone.keep_inputs(dataset, cache, item_ids))
            for modality, backbone in backbones.items()
        }

    if ranks.count > 1:
        ranks.from_first(lambda: len(prepare()))
    return prepare()


def lock_backbones(served: Served) -> dict[str, dict[str, Any]]:
    """Return what a run records of the backbones that it trains, by modality."""
    item_ids = served.kept.item_ids.tolist()
    return {
        modality.value: source.lock_entry(item_ids) for modality, source in served.media.items()
    }


def another_run(settings: RunSettings, folder: Path) -> str:
    """Return how to go on with data on which a run cannot be resumed."""
    if settings.model.is_trained_by_steps:
        return f"Begin another run from its weights: --init {folder} --out {folder}-2"
    return f"Begin another run: --out {folder}-2"  # without steps nothing begins from weights


def _modalities(settings: RunSettings, dataset: Dataset) -> tuple[Modality, ...]:
    chosen = settings.data.modality
    named = {
        modality: any(medium.is_named for medium in read_media(dataset, modality))
        for modality in chosen or PAPERS_MODALITIES
    }
    lacking = [modality.value for modality, is_named in named.items() if not is_named]
    if (chosen and lacking) or not any(named.values()):
        what = ", ".join(lacking)
        raise UsageError(
            f"{settings.data.dataset}: expected items with {what}, found none that the dataset"
            " names",
            remedy=f"crossan data check {dataset.root}",
        )
    return tuple(modality for modality in Modality if named.get(modality))


def _bare(bare: list[str], sources: Mapping[Modality, RawSource]) -> DataError:
    names = ", ".join(modality.value for modality in sources)
    return DataError(
        f"expected items with {names}, found {len(bare):,} without any, first: {bare[0]}",
        remedy="Leave them out: --drop-items",
    )
