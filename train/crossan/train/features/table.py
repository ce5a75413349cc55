"""The residence with all hidden states where the model computes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from crossan.train.features.interface import Fetched, Gathered
from crossan.train.features.rechecking import Rechecking
from crossan.train.settings.tower import Tower

__all__ = ["FeatureTable", "States"]


class States(Protocol):
    """Hidden states of some items, ``(items, layer, dim)``, as a tensor or used like one."""

    @property
    def shape(self) -> torch.Size:
        """``(items, layer, dim)``."""

    def index_select(self, dim: int, index: Tensor, /) -> Tensor:
        """Return rows in the dtype of their store."""


@dataclass(frozen=True, slots=True)
class FeatureTable:
    """All hidden states, plain or packed, and which modalities each item has.

    Shapes: ``hidden`` one ``(items, layer, dim_m)`` per modality in the order
    of `Modality`; ``presence`` ``(items, modality)`` bool, on the same device.
    The numbers in an absent row are never read.
    """

    modalities: tuple[Tower, ...]
    hidden: tuple[States, ...]
    presence: Tensor

    @classmethod
    def without_content(cls, item_count: int, device: torch.device | None = None) -> FeatureTable:
        """Return the table of a run that reads no store, which has no modality at all."""
        return cls((), (), torch.empty(item_count, 0, dtype=torch.bool, device=device))

    def fetch(self, rows: Tensor) -> Fetched:
        """Begin to gather catalogue rows."""
        # Everything is where it is read: no other thread can do anything in advance.
        return Fetched(rows, partial(self.gather, rows))

    def gather(self, rows: Tensor) -> Gathered:
        """Return hidden states, in the dtype of their stores, and presence of catalogue rows."""
        rows = rows.to(self.presence.device)
        return [hidden.index_select(0, rows) for hidden in self.hidden], self.presence[rows]

    def recheck(self) -> Rechecking:
        """Return a comparison of nothing, as no store is read any more."""
        return Rechecking(None)

    @property
    def dims(self) -> list[int]:
        """Width of each modality's hidden states."""
        return [hidden.shape[2] for hidden in self.hidden]

    @property
    def layer_count(self) -> int:
        """Number of kept layers, the same for every modality."""
        return self.hidden[0].shape[1] if self.hidden else 0
