"""What the steps of an epoch need, each ready when the step before is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from torch import Tensor

from crossan.train.features.prefetch import prepared_ahead

__all__ = ["prepared_batches"]

ReadyT = TypeVar("ReadyT")


@contextmanager
def prepared_batches(
    prepare: Callable[[Tensor], ReadyT], batches: Sequence[Tensor], *, is_ahead: bool
) -> Iterator[Iterator[ReadyT]]:
    """Yield what is prepared of batches, one ahead while the one before takes its step.

    Parameters
    ----------
    prepare
        From a batch to what its step needs.
    batches
        Those of an epoch that are left, in order.
    is_ahead
        Whether one is prepared ahead at all. The reference step prepares nothing.
    """
    if not is_ahead:
        yield map(prepare, batches)
        return
    with prepared_ahead(batches, prepare) as ahead:
        yield ahead
