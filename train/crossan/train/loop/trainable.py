"""A run as training sees it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from crossan.common.console import note
from crossan.common.datasets import SelectionSequences
from crossan.train.features import HiddenStates, ItemInputs
from crossan.train.models.recommender import item_rows_of
from crossan.train.record.run_folder import RunFolder
from crossan.train.sequences.refit import RefitSequences
from crossan.train.settings import RunSettings

__all__ = ["RefitRun", "TrainableRun", "announce", "trainable_parameter_count"]


@dataclass(frozen=True, slots=True)
class TrainableRun:
    """What training and selecting see of a run, with no test target in reach."""

    folder: RunFolder
    settings: RunSettings
    seen: SelectionSequences
    features: ItemInputs
    model: nn.Module

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.features.presence.device


@dataclass(frozen=True, slots=True)
class RefitRun:
    """What the refit of a run sees of it, with nothing left to judge a model by."""

    folder: RunFolder
    settings: RunSettings
    """``max_epochs`` is the number of epochs, as there is nothing to stop for."""
    seen: RefitSequences
    features: ItemInputs
    model: nn.Module

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.features.presence.device


def trainable_parameter_count(model: nn.Module) -> int:
    """Return how many numbers training changes."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def announce(run: TrainableRun | RefitRun, rank_count: int) -> None:
    """Tell people what is trained, and what its items lack."""
    parts = [run.settings.model.kind, *(modality.value for modality in run.features.modalities)]
    if run.features.modalities and isinstance(run.features, HiddenStates):
        parts.append(f"{run.features.layer_count} kept layers")
    if item_rows_of(run.model) and run.settings.model.is_trained_by_steps:
        parts.append("a vector per item id")
    note(
        f"{len(run.seen.user_ids):,} users, {len(run.seen.item_ids):,} items, {', '.join(parts)};"
        f" {trainable_parameter_count(run.model):,} trainable parameters"
        + (f"; {rank_count} ranks" if rank_count > 1 else "")
    )
    absent_counts = (~run.features.presence).sum(dim=0).tolist()
    absent = [
        f"{modality.value} {absent_count:,}"
        for modality, absent_count in zip(run.features.modalities, absent_counts, strict=True)
    ]
    if absent:
        note(f"items without: {', '.join(absent)}")
