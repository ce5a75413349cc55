"""A run with everything that its settings name loaded, to be trained or to be used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from crossan.cache_schema.errors import IncompatibleError, UsageError
from crossan.common.console import note
from crossan.common.datasets import Dataset, KeptSequences
from crossan.common.devices import pick_device
from crossan.train.evaluation.best import NewItems
from crossan.train.evaluation.encoding import ITEMS_PER_BLOCK
from crossan.train.features import (
    Demand,
    FeatureTable,
    ItemInputs,
    Placement,
    StoredStates,
    place_features,
)
from crossan.train.features.raw_inputs import raw_inputs
from crossan.train.features.sources import Served
from crossan.train.features.standardise import Standardisers
from crossan.train.layers.item_pairs import carry_item_pairs
from crossan.train.loop.trainable import TrainableRun
from crossan.train.models.item_encoder import require_modalities
from crossan.train.models.recommender import (
    TableModel,
    belongs_to_items,
    item_rows_of,
)
from crossan.train.objectives import Gathers, gathers_of
from crossan.train.record.backbone_lock import require_same_backbones
from crossan.train.record.catalogue_lock import carry_item_rows, read_catalogue
from crossan.train.record.checkpoint import load_weights
from crossan.train.record.kept_epochs import load_epoch
from crossan.train.record.run_folder import RunFolder
from crossan.train.runs.building import make_model
from crossan.train.runs.contents import Comparing, Verdicts, serve
from crossan.train.runs.inputs import open_inputs
from crossan.train.runs.raw_serving import another_run, lock_backbones, serve_media
from crossan.train.runs.standardising import settle_standardisers
from crossan.train.sequences.popularity import training_counts
from crossan.train.sequences.refit import is_trained
from crossan.train.sequences.splits import CatalogueRows
from crossan.train.settings import RunSettings, vector_width

__all__ = ["OpenedRun", "assemble", "carried_weights", "open_run"]


@dataclass(frozen=True, slots=True)
class OpenedRun:
    """A run's settings with everything they name loaded."""

    folder: RunFolder
    settings: RunSettings
    dataset: Dataset
    kept: KeptSequences
    features: ItemInputs
    model: nn.Module
    verdicts: Verdicts
    """How the contents of its items compare with its stores."""
    is_changed: bool = False
    """Whether the dataset is another one than the run was trained on."""
    standardisers: Standardisers | None = None
    """What its hidden states were standardised by, None where they are as stored."""

    @property
    def trained_items(self) -> CatalogueRows:
        """The items that the model was trained on, of all users one after another."""
        return self.kept.items[is_trained(self.kept, self.settings.refit)]

    def new_items(self, least: int) -> NewItems:
        """Return the items that nobody had in training, of which a list has so many at least.

        An item that came after the training is one of them, whoever had it since. A run of
        content alone recorded no catalogue to know it by: of one, its users' items now decide.
        """
        is_new = training_counts(self.trained_items, len(self.kept.item_ids)) == 0
        if self.is_changed and belongs_to_items(self.model):
            is_new |= ~np.isin(self.kept.item_ids, read_catalogue(self.folder.path))
        return NewItems(least, torch.from_numpy(is_new))

    def without_test(self) -> TrainableRun:
        """Return the part of it that training may see."""
        return TrainableRun(
            self.folder, self.settings, self.kept.without_test(), self.features, self.model
        )


def open_run(
    path: Path,
    *,
    device: str = "auto",
    permute_seed: int | None = None,
    placement: Placement = Placement(),  # noqa: B008 - frozen
    may_be_stale: bool = False,
    dataset: Path | None = None,
    cache: Path | None = None,
    epoch: int | None = None,
) -> OpenedRun:
    """Open a run with the weights of its best epoch, or of another that it keeps.

    Its stores are read at the versions it was trained on; one that does not
    serve every item of the dataset, which has gained some or changed some, is
    read at its newest version. With ``drop_items`` they stay: what they lack is
    left out.

    Parameters
    ----------
    path
        The run folder.
    device
        Where to load it.
    permute_seed
        Shuffle the hidden states between items, for this evaluation alone.
    placement
        Where they live; no number depends on it.
    may_be_stale
        Whether items may have other contents than those that the stores were made from.
    dataset, cache
        Where the user says that the run's data lie now, see `open_inputs`.
    epoch
        The epoch whose weights it is opened with, None for the best.

    Raises
    ------
    UsageError
        No run there, or none that finished an epoch, or its data is gone.
    IncompatibleError
        The dataset or a store is not the one that the run recorded.
    DataError
        Items of the dataset that no version of a store serves, or that are stale.
    """
    folder = RunFolder(path)
    inputs = open_inputs(folder, dataset, cache)
    settings = inputs.settings
    opened = folder.best_checkpoint() if epoch is None else load_epoch(path, epoch)
    if permute_seed is not None and not settings.model.reads_hidden_states:
        raise UsageError(
            f"--permute-features: {path} is a run of {settings.model.kind}, which reads no features"
        )
    chosen = pick_device(device)
    permuted = () if permute_seed is None else (permute_seed,)
    if settings.model.reads_media:
        serving: tuple[Served, Verdicts] = serve_media(settings, inputs.dataset), {}
        require_same_backbones(path, lock_backbones(serving[0]), another_run(settings, path))
    else:
        serving = serve(
            inputs.dataset, inputs.stores, settings.data, inputs.recorded, Comparing(may_be_stale)
        )
    is_changed = inputs.warn_if_changed(serving[0].kept)
    run = assemble(
        settings, folder, inputs.dataset, serving, chosen, placement, permuted, is_training=False
    )
    if is_changed and isinstance(run.model, TableModel):
        raise IncompatibleError(
            f"{path}: expected the data that it was trained on, as {settings.model.kind} has a"
            " vector for every user, found others",
            remedy=f"Train it on the data as they are now: --out {path}-2",
        )
    load_weights(run.model, carried_weights(run, opened.tensors["model"]), str(path))
    return replace(run, is_changed=is_changed)


def carried_weights(
    run: OpenedRun, weights: Mapping[str, torch.Tensor]
) -> Mapping[str, torch.Tensor]:
    """Return the weights of a run for the catalogue of its dataset as it is now."""
    if not belongs_to_items(run.model):
        return weights
    source, item_ids = str(run.folder.path), run.kept.item_ids
    trained_on = read_catalogue(run.folder.path)
    # What the dataset gained since was not trained: it is known by its content alone.
    state = run.model.state_dict()
    nothing = {
        name: torch.zeros_like(state[name], device="cpu") for name in item_rows_of(run.model)
    }
    weights = carry_item_rows(weights, trained_on, nothing, item_ids)
    return carry_item_pairs(run.model, weights, trained_on, item_ids, source)


def assemble(
    settings: RunSettings,
    folder: RunFolder,
    dataset: Dataset,
    serving: tuple[Served, Verdicts],
    device: torch.device,
    placement: Placement,
    permute_seeds: Sequence[int] = (),
    *,
    is_training: bool = True,
) -> OpenedRun:
    """Load everything that settings name, with a model of random weights.

    Parameters
    ----------
    settings
        The run's.
    folder
        Where it lies.
    dataset, serving
        What it reads, as `serve` gives it.
    device
        Where it computes.
    placement
        Where the hidden states live.
    permute_seeds
        Shuffles of the hidden states between items, beside the settings' own.
    is_training
        Whether batches are gathered, beside the blocks of an evaluation.

    Raises
    ------
    CrossanError
        Stores that do not fit the settings or each other.
    """
    served, verdicts = serving
    kept = served.kept
    features: ItemInputs = FeatureTable.without_content(len(kept.item_ids), device)
    standardisers: Standardisers | None = None
    if settings.model.reads_hidden_states:
        stored = _stored_states(settings, served, permute_seeds)
        standardisers = settle_standardisers(settings, folder, stored, is_training=is_training)
        if standardisers is not None:
            stored.standardise(standardisers)
        features = _load_features(
            settings, stored, kept, device, placement, is_training=is_training
        )
    if served.media:
        features = raw_inputs(served.media, kept.item_ids.tolist(), device)
    require_modalities(settings.model, len(features.modalities))
    model = make_model(settings, dataset, kept.without_test(), features)
    return OpenedRun(
        folder,
        settings,
        dataset,
        kept,
        features,
        model,
        verdicts,
        standardisers=standardisers,
    )


def _stored_states(
    settings: RunSettings, served: Served, permute_seeds: Sequence[int]
) -> StoredStates:
    permuted = settings.features.permute_seed
    seeds = (*(() if permuted is None else (permuted,)), *permute_seeds)
    return StoredStates(served.stores, served.kept.item_ids, settings.model.kept_layers(), seeds)


def _load_features(
    settings: RunSettings,
    stored: StoredStates,
    kept: KeptSequences,
    device: torch.device,
    placement: Placement,
    *,
    is_training: bool,
) -> ItemInputs:
    if settings.features.storage == "int8":
        for modality, (mean, largest) in stored.pack().items():
            note(
                f"features.storage=int8: {modality.value} with a relative error of {mean:.2%},"
                f" {largest:.2%} at most"
            )
    counts = training_counts(kept.training_items, stored.item_count)
    # A training ends every epoch with an evaluation, so it gathers the blocks of both.
    gathers = Gathers(min(ITEMS_PER_BLOCK, stored.item_count))
    if is_training:
        of_steps = gathers_of(settings, int(np.count_nonzero(counts)), stored.item_count)
        gathers = Gathers(max(gathers.rows, of_steps.rows), max(gathers.at_once, of_steps.at_once))
    width = vector_width(settings.model)
    demand = Demand(
        rows_at_once=gathers.rows,
        gathers_at_once=gathers.at_once,
        counts=counts if is_training else None,
        other_bytes=kept.item_ids.nbytes + 4 * width * stored.item_count,
    )
    return place_features(stored, placement, device, demand)
