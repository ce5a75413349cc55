"""What every objective is to the training loop, and the one that the settings name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from torch import Tensor

from crossan.train.features import Features
from crossan.train.objectives.catalogue import ITEMS_PER_REFRESH, CatalogueSoftmax
from crossan.train.objectives.cross_batch import CrossBatch
from crossan.train.objectives.in_batch import InBatch
from crossan.train.objectives.shared_step import prepare_share
from crossan.train.objectives.step import Prepared, prepare_batch, prepare_by_position
from crossan.train.ranks.ranks import ALONE, Ranks
from crossan.train.sequences.splits import TrainSplit
from crossan.train.settings import RunSettings

__all__ = ["Gathers", "Objective", "gathers_of", "make_objective"]


@dataclass(frozen=True, slots=True)
class Gathers:
    """What an objective gathers of the features at most."""

    rows: int
    """Catalogue rows in one gather."""
    at_once: int = 2
    """Gathers alive together: the batch in use, and the one that a thread prepares meanwhile."""


class Objective(Protocol):
    """A loss per batch, with whatever it remembers between two steps."""

    def prepare(self, features: Features, sequences: Tensor) -> Prepared:
        """Prepare the loss of ``(users, position)`` catalogue rows padded with `PADDING`, on the CPU.

        What is remembered is read and changed by the function returned alone,
        which is called once, batch after batch: another thread may prepare.
        """

    def state(self) -> dict[str, Tensor]:
        """Return what is remembered, by name; nothing where nothing is."""

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Remember what `state` returned."""


def make_objective(
    settings: RunSettings, train: TrainSplit, log_popularity: Tensor, ranks: Ranks = ALONE
) -> Objective:
    """Return the objective of a run.

    Parameters
    ----------
    settings
        The run's.
    train
        Training parts, which tell what items are trained.
    log_popularity
        Log p of the catalogue, ``(items,)``, where the model computes.
    ranks
        Who shares every step; several know the in-batch objective alone.
    """
    chosen = settings.objective
    if ranks.count > 1:
        return InBatch(log_popularity, partial(prepare_share, ranks))
    if chosen.kind == "catalogue":
        pace = chosen.refresh_steps, chosen.sample_size
        return CatalogueSoftmax(train.sequences, len(log_popularity), *pace, log_popularity.device)
    if chosen.kind == "cross-batch":
        return CrossBatch(
            log_popularity, chosen.memory_size, chosen.sample_size, settings.model.width
        )
    return InBatch(log_popularity, prepare_by_position if settings.reference else prepare_batch)


def gathers_of(settings: RunSettings, trained_count: int, item_count: int) -> Gathers:
    """Return what a run's objective gathers of the features at most, where items have content.

    Parameters
    ----------
    settings
        The run's.
    trained_count
        Items that some training part holds.
    item_count
        Items of the catalogue.
    """
    positions, chosen = settings.batch_size * (settings.data.input_length + 1), settings.objective
    if settings.reference:
        return Gathers(positions)  # repeats and padding, too
    if (
        chosen.kind == "catalogue"
    ):  # the sample beside the batch, and beside two of these a block of a refresh
        refreshed = min(ITEMS_PER_REFRESH, item_count)
        return Gathers(
            max(min(positions + chosen.sample_size, trained_count), refreshed), at_once=3
        )
    batch = min(positions, trained_count)
    if (
        chosen.kind == "cross-batch"
    ):  # beside two batches the sample, in which an item may be several times
        return Gathers(max(batch, min(chosen.sample_size, chosen.memory_size)), at_once=3)
    return Gathers(batch)
