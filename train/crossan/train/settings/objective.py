"""What training minimises."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from crossan.common.config import OneOf, Settings
from crossan.common.plugins import plugin_names
from crossan.train.settings.paper import Paper

__all__ = ["OBJECTIVES", "OBJECTIVES_GROUP", "Debias", "ObjectiveSettings"]

Debias = Literal["all", "negatives"]
"""Whose scores the in-batch objective corrects for how often an item is drawn."""

OBJECTIVES = ("in-batch", "catalogue", "cross-batch", "triples")
"""Our own objectives."""
OBJECTIVES_GROUP = "crossan.objectives"
"""Entry points by which other packages add objectives: the name is that of ``objective.kind``, the
target a `crossan.train.objectives.table.ObjectiveEntry`."""


def _objectives() -> list[str]:
    return [*OBJECTIVES, *plugin_names(OBJECTIVES_GROUP)]


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

    debias: Annotated[Debias, Paper("all")] = "all"
    """Whose scores ``in-batch`` corrects for how often an item is in a batch. all is Eq. 7, the
    positive and the negatives; negatives leaves the positive as it is, since it is there in any
    case (arXiv 2507.09331), and makes the denominator an estimate of that of a full softmax."""

    uniform_negatives: int = Field(default=0, ge=0)
    """Items that ``in-batch`` encodes in a step beside those of the batch, as negatives for all of
    its users. Each trained item is as likely to be drawn as any other."""

    temperature: float = Field(default=1.0, gt=0)
    """What scores are divided by before the softmax of ``in-batch``, ``catalogue`` and
    ``cross-batch``. With ``model.scores=cosine`` it has to be below 1, for example 0.05."""

    label_smoothing: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of each target that ``in-batch`` spreads over all items that a prediction chooses
    between."""

    @property
    def has_temperature(self) -> bool:
        """Whether the objective divides scores by a temperature."""
        return self.kind in {"in-batch", "catalogue", "cross-batch"}

    @model_validator(mode="after")
    def _is_read_by_its_kind(self) -> Self:
        of_in_batch = {
            "debias": self.debias != "all",
            "uniform_negatives": self.uniform_negatives > 0,
            "label_smoothing": self.label_smoothing > 0,
        }
        given = [name for name, is_given in of_in_batch.items() if is_given]
        if given and self.kind != "in-batch":
            raise ValueError(f"expected kind=in-batch with {', '.join(given)}, got {self.kind}")
        if self.temperature != 1.0 and not self.has_temperature:
            raise ValueError(
                "expected kind=in-batch, catalogue or cross-batch with temperature, got"
                f" {self.kind}"
            )
        return self
