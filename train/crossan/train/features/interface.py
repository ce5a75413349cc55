"""What training sees of the features, wherever they live."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

from crossan.cache_schema.modality import Modality

__all__ = ["Features", "Fetched", "Gathered"]

Gathered = tuple[list[Tensor], Tensor]
"""Hidden states, one ``(rows, layer, dim_m)`` per modality in the order of `Modality` and in the dtype of its store,
and presence ``(rows, modality)`` bool, on the computing device."""


class Fetched:
    """Rows on their way to the device: what can be done by another thread is done.

    Parameters
    ----------
    rows
        Catalogue rows, ``(n,)``.
    finish
        Does the rest; called by the thread that computes.
    """

    __slots__ = ("_finish", "_rows")

    def __init__(self, rows: Tensor, finish: Callable[[], Gathered]) -> None:
        self._rows = rows
        self._finish: Callable[[], Gathered] | None = finish

    def gather(self, rows: Tensor) -> Gathered:
        """Return hidden states and presence of the rows that were fetched, as `Features.gather` of the same.

        Called once: nothing is kept, so that they are let go as soon as the caller does.

        Raises
        ------
        ValueError
            Other rows than were fetched, or those that were given out already.
        """
        if len(rows) != len(self._rows):
            raise ValueError(
                f"expected the {len(self._rows)} rows that were fetched, got {len(rows)}"
            )
        finish, self._finish = self._finish, None
        if finish is None:
            raise ValueError(
                f"expected {len(self._rows)} rows to be taken once, took them a second time"
            )
        return finish()


class Features(Protocol):
    """Hidden states of the catalogue by catalogue row.

    Every implementation gives the same numbers, on the CPU bit for bit. What
    lies in an absent row is never read by the model and may be anything.
    """

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """Modalities, in the order of `Modality`."""

    @property
    def presence(self) -> Tensor:
        """Which modalities each item has, ``(items, modality)`` bool, on the computing device."""

    @property
    def dims(self) -> list[int]:
        """Width of each modality's hidden states."""

    @property
    def layer_count(self) -> int:
        """Kept layers of every modality."""

    def fetch(self, rows: Tensor) -> Fetched:
        """Begin to gather catalogue rows, ``(n,)``; may be called by another thread than the one that computes."""

    def gather(self, rows: Tensor) -> Gathered:
        """Return hidden states and presence of the given catalogue rows; repeats are allowed."""
