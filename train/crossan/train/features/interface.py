"""What training sees of the inputs of items, wherever they are kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from crossan.train.features.rechecking import Rechecking
from crossan.train.settings.tower import Tower

__all__ = ["Fetched", "Gathered", "GatheredInputs", "HiddenStates", "ItemInputs"]

Gathered = tuple[list[Tensor], Tensor]
"""Hidden states and presence of some rows, on the computing device.

Hidden states are one ``(rows, layer, dim_m)`` per modality, in the order of
`Modality` and in the dtype of its store; presence is ``(rows, modality)`` bool.
"""
GatheredInputs = tuple[list[Any], Tensor]
"""The same of whatever a model reads, one part per modality: hidden states are one kind of it."""


class Fetched:
    """Rows on their way to the device.

    Whatever another thread can do for them is done.

    Parameters
    ----------
    rows
        Catalogue rows, ``(n,)``.
    finish
        Does the rest, called by the thread that computes.
    """

    __slots__ = ("_finish", "_rows")

    def __init__(self, rows: Tensor, finish: Callable[[], GatheredInputs]) -> None:
        self._rows = rows
        self._finish: Callable[[], GatheredInputs] | None = finish

    def gather(self, rows: Tensor) -> GatheredInputs:
        """Return what `ItemInputs.gather` returns for the rows that were fetched.

        It can be called once. Nothing is kept here, so the memory is free as
        soon as the caller lets go of the result.

        Raises
        ------
        ValueError
            The rows are not those that were fetched, or were given out before.
        """
        if len(rows) != len(self._rows):
            raise ValueError(
                f"expected the {len(self._rows)} rows that were fetched, got {len(rows)}"
            )
        # Forgotten before it is called: it holds the staged rows, which would outlive their use.
        finish, self._finish = self._finish, None
        if finish is None:
            raise ValueError(
                f"expected {len(self._rows)} rows to be taken once, took them a second time"
            )
        return finish()


class ItemInputs(Protocol):
    """What a model makes item vectors of, by catalogue row.

    Every implementation of one kind of inputs gives the same numbers, on the CPU
    bit for bit. The numbers in an absent row may be anything; the model never reads
    them.
    """

    @property
    def modalities(self) -> tuple[Tower, ...]:
        """The modalities in use, in the order of `Modality`."""

    @property
    def presence(self) -> Tensor:
        """Which modalities each item has, ``(items, modality)`` bool on the computing device."""

    def fetch(self, rows: Tensor) -> Fetched:
        """Begin to gather catalogue rows, ``(n,)``.

        Another thread than the one that computes may call this.
        """

    def gather(self, rows: Tensor) -> GatheredInputs:
        """Return inputs and presence of catalogue rows, which may repeat."""

    def recheck(self) -> Rechecking:
        """Return a comparison of what is still read from files with its record.

        It compares nothing where everything is in memory: it was compared when it
        was loaded.
        """


@runtime_checkable
class HiddenStates(ItemInputs, Protocol):
    """Hidden states of the catalogue by catalogue row."""

    @property
    def dims(self) -> list[int]:
        """Width of each modality's hidden states."""

    @property
    def layer_count(self) -> int:
        """Number of kept layers, the same for every modality."""

    def gather(self, rows: Tensor) -> Gathered:
        """Return hidden states and presence of catalogue rows, which may repeat."""
