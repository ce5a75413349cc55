"""Every setting of a training run, closed and checked at the door."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from crossan.cache_schema.modality import Modality
from crossan.common.config import Kinds, Settings
from crossan.common.history_mask import HistoryMask
from crossan.common.split import Split, SplitName, TrainedOn
from crossan.train.settings.content import CrossanSettings
from crossan.train.settings.earlier import upgraded_model, with_earlier_defaults
from crossan.train.settings.kinds import model_settings_classes
from crossan.train.settings.models import ModelSettings
from crossan.train.settings.objective import ObjectiveSettings
from crossan.train.settings.optimiser import OptimiserSettings
from crossan.train.settings.paper import Paper
from crossan.train.settings.run_defaults import is_read, run_defaults_of, with_default

__all__ = [
    "CheckpointSettings",
    "DataSettings",
    "FeatureSettings",
    "HistoryMask",
    "RunSettings",
    "SelectBy",
]

SelectBy = Literal["hr@10", "recall@20"]
"""Validation figures that an epoch can be chosen by."""


class DataSettings(Settings):
    """What a run reads."""

    dataset: str
    """Dataset folder."""

    cache: str | None = None
    """Folder of stores. Models without content neither need nor read it."""

    modality: tuple[Modality, ...] | None = None
    """Modalities to use. By default all that the cache holds for the dataset; with
    model.kind=fine-tuned the text and the images that the dataset names."""

    store: tuple[str, ...] = ()
    """Store folders, needed where the cache holds several of one modality. ``FOLDER@3`` is version
    3 of a store; by default the newest is read. Several of one modality are a tower each, known as
    ``modality:folder`` and ordered by these names."""

    drop_items: bool = False
    """Leave out items that no chosen store holds, or that have no modality, instead of stopping."""

    max_items: Annotated[int, Paper("13, as Table 4 counts 10 positions")] = Field(default=13, ge=4)
    """Items kept per user, the last ones. The model reads three fewer, as one is the training
    target and two are held out. With another data.split all items are kept, and the model
    reads and learns from the last ones of the training part, as many as otherwise."""

    min_items: int = Field(default=5, ge=3)
    """Users with fewer interactions are left out. With data.split=fixed the publisher decided that,
    and this is not set."""

    split: Annotated[SplitName, Paper("leave-last-out")] = "leave-last-out"
    """Which interactions are held out. leave-last-out takes each user's last for test and the last
    but one for validation; mmrec-random draws one in five of each user's, half of them for
    validation, as MMRec does: what is held out may be older than what is trained on; fixed takes
    the split that the dataset carries, as ``crossan data import`` read it from MMRec's files.
    Figures of different splits cannot be compared."""

    split_seed: int = Field(default=0, ge=0, lt=2**32)
    """Seed of ``data.split=mmrec-random``. It is none of ``seed``, so that runs of several seeds
    share one split."""

    @property
    def input_length(self) -> int:
        """Items the sequence encoder reads at most."""
        return self.max_items - 3

    @property
    def parted_by(self) -> Split:
        """What says which interactions are held out."""
        return Split(self.split, self.split_seed)

    @model_validator(mode="after")
    def _sets_what_its_split_reads(self) -> Self:
        if self.split_seed and not self.parted_by.is_random:
            raise ValueError(f"expected no split_seed with split={self.split}, which draws nothing")
        if self.split == "fixed" and self.min_items != type(self).model_fields["min_items"].default:
            raise ValueError(
                "expected no min_items with split=fixed, whose publisher chose the users"
            )
        return self


class FeatureSettings(Settings):
    """What is done to the hidden states before training."""

    permute_seed: int | None = Field(default=None, ge=0)
    """Seed that shuffles the hidden states between items, as a control in which content cannot
    help. By default nothing is shuffled."""

    standardise: Annotated[Literal["none", "layer"], Paper("none")] = "none"
    """Whether each kept layer of each modality is centred over the run's items and divided by one
    deviation, before the gates. Without it the size of one layer drowns the others. The statistics
    stay with the run, for whatever it is used on later."""

    storage: Literal["stored", "int8"] = "stored"
    """What the hidden states are kept in. stored is as their stores give them; int8 has a scale per
    item and layer, takes half the memory of float16 and changes the numbers by about half a
    percent, which is measured and shown."""


class CheckpointSettings(Settings):
    """How much an interruption costs at most, and which weights are kept.

    When a checkpoint is written changes no number.
    """

    every_seconds: float = Field(default=60.0, ge=0)
    """Seconds of training that an interruption costs at most. It is more where writing a checkpoint
    takes over a twentieth of them."""

    every_steps: int | None = Field(default=None, ge=1)
    """Steps that an interruption costs at most, beside the seconds. By default there is no such
    limit."""

    keep_epochs: int = Field(default=0, ge=0)
    """How many of the last epochs keep their weights in the run folder, for ``crossan evaluate RUN
    --epoch N``. The best and the latest are kept in any case."""


class RunSettings(Settings):
    """Everything that fixes a run.

    ``config.toml`` in a run folder is this, resolved.
    """

    data: DataSettings
    model: Annotated[ModelSettings, Kinds(model_settings_classes)] = CrossanSettings()
    objective: ObjectiveSettings = ObjectiveSettings()
    optimiser: OptimiserSettings = OptimiserSettings()
    features: FeatureSettings = FeatureSettings()
    checkpoint: CheckpointSettings = CheckpointSettings()

    batch_size: Annotated[int, Paper("the largest that fits", "32 to 1024")] = Field(
        default=128, ge=1
    )
    """Users per step."""

    max_epochs: int = Field(default=100, ge=1)
    """Epochs at most."""

    patience: int = Field(default=10, ge=1)
    """Epochs without a better validation figure before training stops."""

    select_by: SelectBy = "hr@10"
    """Validation figure by which the best epoch is chosen. recall@20 is that of MMRec's code,
    rounded to four digits, so that a smaller gain counts for nothing."""

    average_epochs: int = Field(default=1, ge=1)
    """Epochs whose weights are averaged for every validation, the last ones. The best epoch is then
    that of the best average, which is kept and evaluated, and training goes on without it."""

    init: str | None = None
    """Run folder whose best weights training starts from. By default weights are random."""

    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seed of weights, order and dropout."""

    refit: TrainedOn = "none"
    """The held-out items that a run was trained on, too. ``crossan-train --refit`` writes it."""

    mask_history: HistoryMask = "all"
    """Which of a user's items before the target are left out of the ranking. unseen-only leaves out
    all but the target itself, where it repeats. With data.split=mmrec-random the items of the
    training part are meant."""

    reference: bool = False
    """Train by the slow twin of the step, which encodes every position and uses plain autograd. The
    mathematics is the same, to compare with."""

    @classmethod
    def upgraded(cls, tree: dict[str, Any]) -> dict[str, Any]:
        """Read the flags that chose the model before `ModelSettings.kind` did, and runs of then."""
        if isinstance(tree.get("model"), dict):
            tree["model"] = upgraded_model(tree["model"])
        return with_earlier_defaults(tree)

    @classmethod
    def defaults_of_kind(cls, group: str, kind: object) -> Mapping[str, object]:
        """Return what a kind of model sets for a run."""
        return run_defaults_of(kind) if group == "model" else {}

    @model_validator(mode="before")
    @classmethod
    def _with_the_defaults_of_the_model(cls, tree: object) -> object:
        """Fill in what a kind of model sets for a run, where nothing is named."""
        if not isinstance(tree, dict):
            return tree
        default = cls.model_fields["model"].default.kind
        model = tree.get("model", {})
        kind = model.get("kind", default) if isinstance(model, dict) else model.kind
        for name, value in run_defaults_of(kind).items():
            if is_read(name, tree):
                tree = with_default(tree, name.split("."), value)
        return tree

    @model_validator(mode="after")
    def _learns_by_an_objective_it_knows(self) -> Self:
        kind, objective = self.model.kind, self.objective.kind
        is_by_triples = self.model.learns_from == "triples"
        if is_by_triples and objective != "triples":
            raise ValueError(
                f"expected objective.kind=triples with model.kind={kind}, which has a vector for"
                f" every user, got {objective}"
            )
        if objective == "triples" and not is_by_triples:
            raise ValueError(
                f"expected another objective.kind than triples with model.kind={kind}, which has"
                " no vectors of users"
            )
        if is_by_triples and self.init is not None:
            raise ValueError(f"expected no init with model.kind={kind}, whose users are one run's")
        return self

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        unread = {
            "features.permute_seed": self.features.permute_seed is not None,
            "features.standardise": self.features.standardise != "none",
            "data.modality": self.data.modality is not None and not self.model.reads_media,
            "data.store": bool(self.data.store),
        }
        given = [name for name, is_given in unread.items() if is_given]
        kind = self.model.kind
        if given and not self.model.reads_hidden_states:
            raise ValueError(
                f"expected no {', '.join(given)} with model.kind={kind}, which reads no hidden"
                " states"
            )
        of_steps = {
            "init": self.init is not None,
            "reference": self.reference,
            "average_epochs": self.average_epochs > 1,
        }
        for name, is_given in of_steps.items():
            if is_given and not self.model.is_trained_by_steps:
                raise ValueError(f"expected no {name} with model.kind={kind}, which takes no steps")
        if (
            getattr(self.model, "scores", "dot") == "cosine"
            and self.objective.has_temperature
            and self.objective.temperature >= 1.0
        ):
            raise ValueError(
                "expected objective.temperature below 1 with model.scores=cosine, for example 0.05,"
                f" got {self.objective.temperature:g}: a softmax over scores between -1 and 1"
                " cannot prefer one of many items"
            )
        if self.reference and self.objective.kind != "in-batch":
            raise ValueError(
                f"expected objective.kind=in-batch with reference, got {self.objective.kind}"
            )
        return self

    def anywhere(self) -> Self:
        """Return a copy with absolute paths, which names the same folders wherever it is read."""
        data = self.data
        named = {
            "dataset": _absolute(data.dataset),
            "cache": None if data.cache is None else _absolute(data.cache),
            "store": tuple(map(_absolute, data.store)),
        }
        init = None if self.init is None else _absolute(self.init)
        absolute = {
            "data": data.model_copy(update=named),
            "model": self.model.anywhere(),
            "init": init,
        }
        return self.model_copy(update=absolute)


def _absolute(path: str) -> str:
    return str(Path(path).absolute())
