"""The table of objectives by their names (``objective.kind``).

Another package adds one by an entry point in the group ``crossan.objectives``,
named as the kind, whose target is an `ObjectiveEntry`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from crossan.cache_schema.errors import ConfigError
from crossan.common.code_names import load_code, names_code
from crossan.common.plugins import load_plugin
from crossan.train.objectives.candidates import InBatchRule, rule_of
from crossan.train.objectives.catalogue import ITEMS_PER_REFRESH, CatalogueSoftmax
from crossan.train.objectives.cross_batch import CrossBatch
from crossan.train.objectives.in_batch import InBatch
from crossan.train.objectives.objective import Objective, SequenceLoss, SequenceObjective
from crossan.train.objectives.own import LossOfScores, OwnLoss
from crossan.train.objectives.shared_step import prepare_share
from crossan.train.objectives.step import prepare_batch, prepare_by_position
from crossan.train.objectives.triples import Triples
from crossan.train.ranks.ranks import ALONE, Ranks
from crossan.train.sequences.flat import training_parts
from crossan.train.sequences.refit import TrainingSequences
from crossan.train.sequences.splits import TrainSplit
from crossan.train.settings import RunSettings, SequenceSettings
from crossan.train.settings.objective import OBJECTIVES_GROUP

__all__ = ["Gathers", "ObjectiveContext", "ObjectiveEntry", "gathers_of", "make_objective"]


@dataclass(frozen=True, slots=True)
class Gathers:
    """What an objective gathers of the features at most."""

    rows: int
    """Catalogue rows in one gather."""
    at_once: int = 2
    """Gathers alive together: the batch in use, and the one that a thread prepares meanwhile."""


@dataclass(frozen=True, slots=True)
class ObjectiveContext:
    """What an objective is made for."""

    settings: RunSettings

    train: TrainSplit
    """The training parts, which tell what items are trained."""

    log_popularity: Tensor
    """Log p of the catalogue, ``(items,)``, where the model computes."""

    ranks: Ranks = ALONE
    """Who shares every step; several know the in-batch objective alone."""

    seen: TrainingSequences | None = None
    """The same training parts whole, where one is longer than a model reads."""

    def rule(self) -> InBatchRule | None:
        """Return what the in-batch objective does beside Eqs. 7-8, None for nothing."""
        return rule_of(self.settings.objective, self.train.sequences, self.log_popularity)

    def over_sequences(self, loss: SequenceLoss) -> SequenceObjective:
        """Return the objective that minimises a loss over batches of users."""
        settings = self.settings
        return SequenceObjective(loss, self.train.sequences, settings.batch_size, settings.seed)


@dataclass(frozen=True, slots=True)
class ObjectiveEntry:
    """An objective by its name."""

    make: Callable[[ObjectiveContext], Objective]

    gathers: Callable[[RunSettings, int, int], Gathers]
    """From settings, the number of items that some training part holds, and that of the catalogue
    to what is gathered at most: features are given memory by it."""


def make_objective(context: ObjectiveContext) -> Objective:
    """Return the objective of a run.

    Raises
    ------
    ConfigError
        The package that brings it cannot be loaded.
    """
    return _entry(context.settings.objective.kind).make(context)


def gathers_of(settings: RunSettings, trained_count: int, item_count: int) -> Gathers:
    """Return what the objective of a run gathers of the features at most.

    Parameters
    ----------
    settings
        The run's.
    trained_count
        Items that some training part holds.
    item_count
        Items of the catalogue.
    """
    return _entry(settings.objective.kind).gathers(settings, trained_count, item_count)


def _entry(kind: str) -> ObjectiveEntry:
    if kind in _ENTRIES:
        return _ENTRIES[kind]
    if names_code(kind):
        return _own_entry(kind)
    entry = load_plugin(OBJECTIVES_GROUP, kind, _ENTRIES)
    if not isinstance(entry, ObjectiveEntry):
        raise ConfigError(
            f"{OBJECTIVES_GROUP}: expected an ObjectiveEntry for '{kind}', got {entry!r}"
        )
    return entry


def _own_entry(kind: str) -> ObjectiveEntry:
    part = load_code(kind, "objective.kind")
    if isinstance(part, ObjectiveEntry):
        return part
    if not callable(part):
        raise ConfigError(
            f"objective.kind={kind}: expected a function from BatchScores to a loss, or an"
            f" ObjectiveEntry, got {part!r}"
        )
    loss: LossOfScores = part

    def make(context: ObjectiveContext) -> Objective:
        return context.over_sequences(OwnLoss(loss, context.log_popularity, kind))

    # It gathers what the paper's does, the items of a batch.
    return ObjectiveEntry(make, _gathers_of_in_batch)


def _in_batch(context: ObjectiveContext) -> Objective:
    prepare = prepare_by_position if context.settings.reference else prepare_batch
    if context.ranks.count > 1:
        prepare = partial(prepare_share, context.ranks)
    with_rule = partial(prepare, rule=context.rule())
    return context.over_sequences(InBatch(context.log_popularity, with_rule))


def _gathers_of_in_batch(settings: RunSettings, trained_count: int, item_count: int) -> Gathers:
    del item_count
    positions = _positions(settings) + settings.objective.uniform_negatives
    # The slow twin gathers every position for itself, repeats and padding too.
    return Gathers(positions if settings.reference else min(positions, trained_count))


def _catalogue(context: ObjectiveContext) -> Objective:
    chosen, log_popularity = context.settings.objective, context.log_popularity
    loss = CatalogueSoftmax(
        context.train.sequences,
        len(log_popularity),
        chosen.refresh_steps,
        chosen.sample_size,
        log_popularity.device,
        chosen.temperature,
    )
    return context.over_sequences(loss)


def _gathers_of_catalogue(settings: RunSettings, trained_count: int, item_count: int) -> Gathers:
    # The sample beside the batch, and beside two of these a block of a refresh.
    step = min(_positions(settings) + settings.objective.sample_size, trained_count)
    return Gathers(max(step, min(ITEMS_PER_REFRESH, item_count)), at_once=3)


def _cross_batch(context: ObjectiveContext) -> Objective:
    chosen, model = context.settings.objective, context.settings.model
    assert isinstance(model, SequenceSettings)  # only sequence models are trained by sequences
    sizes = chosen.memory_size, chosen.sample_size, model.width
    loss = CrossBatch(context.log_popularity, *sizes, chosen.temperature)
    return context.over_sequences(loss)


def _gathers_of_cross_batch(settings: RunSettings, trained_count: int, item_count: int) -> Gathers:
    del item_count
    chosen = settings.objective
    # Beside two batches the sample, in which an item may be several times.
    sample = min(chosen.sample_size, chosen.memory_size)
    return Gathers(max(min(_positions(settings), trained_count), sample), at_once=3)


def _triples(context: ObjectiveContext) -> Objective:
    settings, log_popularity = context.settings, context.log_popularity
    assert context.seen is not None  # training gives it
    return Triples(
        training_parts(context.seen),
        len(log_popularity),
        settings.batch_size,
        settings.seed,
        log_popularity.device,
    )


def _gathers_of_triples(settings: RunSettings, trained_count: int, item_count: int) -> Gathers:
    del settings, trained_count, item_count
    return Gathers(1)  # a step reads what the model has gathered


def _positions(settings: RunSettings) -> int:
    return settings.batch_size * (settings.data.input_length + 1)


_ENTRIES = {
    "in-batch": ObjectiveEntry(_in_batch, _gathers_of_in_batch),
    "catalogue": ObjectiveEntry(_catalogue, _gathers_of_catalogue),
    "cross-batch": ObjectiveEntry(_cross_batch, _gathers_of_cross_batch),
    "triples": ObjectiveEntry(_triples, _gathers_of_triples),
}
