"""What training minimises."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from crossan.common.config import OneOf, Settings
from crossan.common.plugins import plugin_names
from crossan.train.settings.paper import Paper

__all__ = ["OBJECTIVES", "OBJECTIVES_GROUP", "ObjectiveSettings"]

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
