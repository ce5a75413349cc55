"""The losses of an epoch's batches, each ready for its step when the step before is done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor

from crossan.train.features import ItemInputs
from crossan.train.features.prefetch import prepared_ahead
from crossan.train.objectives import Objective
from crossan.train.objectives.step import Prepared

__all__ = ["prepared_losses"]


@contextmanager
def prepared_losses(
    objective: Objective, features: ItemInputs, batches: Sequence[Tensor], *, is_ahead: bool
) -> Iterator[Iterator[Prepared]]:
    """Yield the losses of batches, one prepared ahead while the one before takes its step.

    Parameters
    ----------
    objective, features
        What prepares a batch, and what it reads.
    batches
        Those of an epoch that are left, in order.
    is_ahead
        Whether one is prepared ahead at all. The reference step prepares nothing.
    """

    def prepare(batch: Tensor) -> Prepared:
        return objective.prepare(features, batch)

    if not is_ahead:
        yield map(prepare, batches)
        return
    with prepared_ahead(batches, prepare) as ahead:
        yield ahead
