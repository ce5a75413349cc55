"""What the settings of every kind of model have, and the kinds that read no hidden states.

``model.kind`` says which class a run's ``model`` has
(`crossan.train.settings.kinds`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from crossan.common.config import Settings
from crossan.train.settings.paper import Paper

__all__ = [
    "ChosenSettings",
    "LayersRead",
    "LearnsFrom",
    "ModelSettings",
    "PopularitySettings",
    "SasrecSettings",
    "SequenceSettings",
    "layers_read",
]

LearnsFrom = Literal["sequences", "triples"]
"""What the steps of a model learn from."""

LayersRead = tuple[int, ...] | Literal["last"] | None
"""Kept layers of every store by their numbers, the last of each, or all of them."""


def layers_read(kept: Sequence[int], layers: LayersRead) -> tuple[int, ...]:
    """Return the numbers of the layers that are read of a store which keeps some."""
    if layers is None:
        return tuple(kept)
    return (kept[-1],) if layers == "last" else layers


class ModelSettings(Settings):
    """What every kind of model has, which is its name."""

    kind: str
    """Name of the model."""

    reads_hidden_states: ClassVar[bool] = False
    """Whether a run of this kind reads stores of hidden states."""

    reads_media: ClassVar[bool] = False
    """Whether a run of this kind reads titles and media files, through backbones that it trains."""

    is_trained_by_steps: ClassVar[bool] = True
    """Whether weights are learned by steps; a model that only counts takes none."""

    is_of_runs: ClassVar[bool] = False
    """Whether it is made of finished runs, which ``--of`` names."""

    learns_from: ClassVar[LearnsFrom] = "sequences"
    """What a step learns from: sequences of users, or triples of a user and two items
    (``objective.kind=triples``)."""

    run_defaults: ClassVar[Mapping[str, Any]] = {}
    """What a run of this kind takes where the user names nothing, by the dotted names of settings
    outside ``model``."""

    def kept_layers(self) -> LayersRead:
        """Return which of a store's kept layers are read."""
        return None

    def anywhere(self) -> Self:
        """Return a copy with absolute paths, of which few kinds have any."""
        return self


class SequenceSettings(ModelSettings):
    """Shape of the sequence encoder.

    The defaults are the paper's.
    """

    width: Annotated[int, Paper("64", "32, 64, 128")] = Field(default=64, ge=1)
    """Width of item and user vectors."""

    blocks: Annotated[int, Paper("2")] = Field(default=2, ge=1)
    """Transformer blocks of the sequence encoder."""

    heads: Annotated[int, Paper("2")] = Field(default=2, ge=1)
    """Attention heads of the sequence encoder."""

    dropout: Annotated[float, Paper("0.1")] = Field(default=0.1, ge=0.0, lt=1.0)
    """Dropout of the sequence encoder."""

    activation: Literal["gelu", "relu"] = "gelu"
    """Activation of the sequence encoder's feed-forward nets and of side adapters. gelu is our
    choice, as the paper names none; IISAN's code runs with relu in both."""

    norm: Literal["post", "pre"] = "post"
    """Where the sequence encoder normalises. post is after each part of a block, as in the paper's
    count. pre is before it, and once more at the end instead of at the beginning. Both have as many
    weights."""

    positions: Literal["absolute", "relative"] = "absolute"
    """How the sequence encoder knows the order of items. absolute adds a learned vector for each
    position. relative adds to attention a learned number for each head and distance of two
    items."""

    scores: Literal["dot", "cosine"] = "dot"
    """How an item vector and a user vector make a score. With cosine all vectors have the length 1,
    in training and wherever they are read later, and `objective.temperature` has to be below 1."""

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.width % self.heads:
            raise ValueError(
                f"expected width to be divisible by heads, got width {self.width} and"
                f" {self.heads} heads"
            )
        return self


class ChosenSettings(SequenceSettings):
    """Shape of the sequence encoder, and how a run trains, as validation chose them.

    ``docs/decisions/0011-defaults.md`` has the two datasets and the figures. The paper's own
    values stand in the recipes of its tables.
    """

    run_defaults: ClassVar[Mapping[str, Any]] = {
        "batch_size": 512,
        "average_epochs": 4,
        "objective.debias": "negatives",
    }

    width: Annotated[int, Paper("64", "32, 64, 128")] = Field(default=128, ge=1)
    """Width of item and user vectors."""

    dropout: Annotated[float, Paper("0.1")] = Field(default=0.2, ge=0.0, lt=1.0)
    """Dropout of the sequence encoder."""


class SasrecSettings(ChosenSettings):
    """SASRec over item ids, without content."""

    kind: Literal["sasrec"] = "sasrec"


class PopularitySettings(ModelSettings):
    """The most popular items for everybody."""

    kind: Literal["popularity"] = "popularity"

    is_trained_by_steps: ClassVar[bool] = False
