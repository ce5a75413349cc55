"""Every setting of a training run, closed and checked at the door."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from crossan.cache_schema.modality import Modality
from crossan.common.config import Kinds, OneOf, Settings
from crossan.common.history_mask import HistoryMask
from crossan.common.plugins import plugin_names
from crossan.common.split import Split, SplitName, TrainedOn
from crossan.train.settings.content import CrossanSettings
from crossan.train.settings.earlier import upgraded_model
from crossan.train.settings.kinds import model_settings_classes
from crossan.train.settings.models import ModelSettings
from crossan.train.settings.paper import Paper

__all__ = [
    "OBJECTIVES",
    "OBJECTIVES_GROUP",
    "CheckpointSettings",
    "DataSettings",
    "FeatureSettings",
    "HistoryMask",
    "ObjectiveSettings",
    "OptimiserSettings",
    "RunSettings",
    "learns_from_triples",
]

OBJECTIVES = ("in-batch", "catalogue", "cross-batch", "triples")
"""Our own objectives."""
OBJECTIVES_GROUP = "crossan.objectives"
"""Entry points by which other packages add objectives: the name is that of ``objective.kind``, the
target a `crossan.train.objectives.table.ObjectiveEntry`."""


def _objectives() -> list[str]:
    return [*OBJECTIVES, *plugin_names(OBJECTIVES_GROUP)]


class DataSettings(Settings):
    """What a run reads."""

    dataset: str
    """Dataset folder."""

    cache: str | None = None
    """Folder of stores. Models without content neither need nor read it."""

    modality: tuple[Modality, ...] | None = None
    """Modalities to use. By default all that the cache holds for the dataset."""

    store: tuple[str, ...] = ()
    """Store folders, needed where the cache holds several of one modality. ``FOLDER@3`` is version 3
    of a store; by default the newest is read."""

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
    the split that the dataset carries, as ``crossan data import`` read it from MMRec's files. Figures
    of different splits cannot be compared."""

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


class OptimiserSettings(Settings):
    """AdamW with rates of their own for the side adapters and the items' own vectors."""

    lr: Annotated[float, Paper(searched="1e-5 to 1e-3")] = Field(default=1e-3, gt=0)
    """Learning rate of fusion and sequence encoder."""

    adapter_lr: Annotated[float, Paper(searched="1e-5 to 1e-3")] = Field(default=1e-4, gt=0)
    """Learning rate of the side-adapter towers and their gates."""

    id_lr: float = Field(default=1e-3, gt=0)
    """Learning rate of the items' own vectors (``model.id_embedding``)."""

    weight_decay: float = Field(default=0.01, ge=0)
    """Decoupled weight decay, on every weight."""


class ObjectiveSettings(Settings):
    """What training minimises.

    The default is the paper's.
    """

    kind: Annotated[str, OneOf(_objectives, may_be_code=True), Paper("in-batch")] = "in-batch"
    """Where negatives come from. in-batch takes those of the batch, debiased (Eqs. 7-8); catalogue
    every trained item, in a full softmax; cross-batch the batch and a memory of those before it.
    triples draws one item for each of a user's, and is the one objective of models that have a
    vector for every user: ``batch_size`` counts triples then.
    Other packages may add objectives, and ``package.module:Name`` is one of your own."""

    refresh_steps: int = Field(default=100, ge=1)
    """Steps between two encodings of the whole catalogue, for ``catalogue`` where items have
    content. A content vector outside the batch is at most this old."""

    sample_size: int = Field(default=1024, ge=1)
    """Items encoded in a step beside those of the batch, for ``cross-batch``, and for ``catalogue``
    where items have content. The gradient through them stands for that of all negatives outside
    the batch."""

    memory_size: int = Field(default=4096, ge=1)
    """Item vectors that ``cross-batch`` remembers, the latest ones."""


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
    """How much an interruption costs at most.

    When a checkpoint is written changes no number.
    """

    every_seconds: float = Field(default=60.0, ge=0)
    """Seconds of training that an interruption costs at most. It is more where writing a checkpoint
    takes over a twentieth of them."""

    every_steps: int | None = Field(default=None, ge=1)
    """Steps that an interruption costs at most, beside the seconds. By default there is no such
    limit."""


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
    """Epochs without a better validation HR@10 before training stops."""

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
        """Read the flags that chose the model before `ModelSettings.kind` did."""
        if isinstance(tree.get("model"), dict):
            tree["model"] = upgraded_model(tree["model"])
        return tree

    @model_validator(mode="before")
    @classmethod
    def _with_the_only_objective(cls, tree: object) -> object:
        """Fill in the objective of a model that knows but one, where none is named."""
        if not isinstance(tree, dict):
            return tree
        model, objective = tree.get("model"), tree.get("objective", {})
        kind = model.get("kind") if isinstance(model, dict) else getattr(model, "kind", None)
        if not isinstance(objective, dict) or "kind" in objective or not learns_from_triples(kind):
            return tree
        return {**tree, "objective": {**objective, "kind": "triples"}}

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
            "data.modality": self.data.modality is not None,
            "data.store": bool(self.data.store),
        }
        given = [name for name, is_given in unread.items() if is_given]
        kind = self.model.kind
        if given and not self.model.reads_hidden_states:
            raise ValueError(
                f"expected no {', '.join(given)} with model.kind={kind}, which reads no hidden"
                " states"
            )
        if not self.model.is_trained_by_steps and (self.init is not None or self.reference):
            name = "reference" if self.reference else "init"
            raise ValueError(f"expected no {name} with model.kind={kind}, which takes no steps")
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
        return self.model_copy(update={"data": data.model_copy(update=named), "init": init})


def learns_from_triples(kind: object) -> bool:
    """Whether a value of ``model.kind`` names a model that learns from triples."""
    classes = model_settings_classes()
    if not isinstance(kind, str) or kind not in classes:
        return False
    settings_class = classes[kind]
    return issubclass(settings_class, ModelSettings) and settings_class.learns_from == "triples"


def _absolute(path: str) -> str:
    return str(Path(path).absolute())
