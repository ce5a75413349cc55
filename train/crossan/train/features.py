"""The hidden states of the catalogue, resident in memory, by catalogue row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from crossan.cache_schema.errors import IncompatibleError
from crossan.cache_schema.modality import Modality
from crossan.common.stores import FeatureStore

__all__ = ["FeatureTable", "load_features"]


@dataclass(frozen=True, slots=True)
class FeatureTable:
    """Hidden states in the dtype of their stores, and which modalities each item has.

    Shapes: ``hidden`` one ``(items, layer, dim_m)`` per modality in the order
    of `Modality`; ``presence`` ``(items, modality)`` bool. What lies in an
    absent row is never read.
    """

    modalities: tuple[Modality, ...]
    hidden: tuple[Tensor, ...]
    presence: Tensor

    @classmethod
    def without_content(cls, item_count: int) -> FeatureTable:
        """Return the table of a catalogue of which no store is read: no modality at all."""
        return cls((), (), torch.empty(item_count, 0, dtype=torch.bool))

    def gather(self, rows: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return hidden states, in the dtype of their stores, and presence of the given catalogue rows."""
        return [hidden.index_select(0, rows) for hidden in self.hidden], self.presence[rows]

    def permuted(self, seed: int) -> FeatureTable:
        """Return the table with rows shuffled between items; an item's modalities stay together."""
        order = torch.from_numpy(np.random.default_rng(seed).permutation(len(self.presence)))
        return FeatureTable(self.modalities, tuple(hidden[order] for hidden in self.hidden), self.presence[order])

    def to(self, device: torch.device) -> FeatureTable:
        """Return the table on a device."""
        return FeatureTable(self.modalities, tuple(h.to(device) for h in self.hidden), self.presence.to(device))

    @property
    def dims(self) -> list[int]:
        """Width of each modality's hidden states."""
        return [hidden.shape[2] for hidden in self.hidden]

    @property
    def layer_count(self) -> int:
        """Kept layers of every modality."""
        return self.hidden[0].shape[1] if self.hidden else 0


def load_features(
    stores: dict[Modality, FeatureStore], item_ids: Sequence[str] | np.ndarray, layers: tuple[int, ...] | None
) -> FeatureTable:
    """Read the chosen layers of every catalogue item.

    Parameters
    ----------
    stores
        One store per modality; each must know every item.
    item_ids
        The catalogue, sorted.
    layers
        Layer numbers to read from every store; None reads all it keeps.

    Raises
    ------
    IncompatibleError
        Stores with different counts of kept layers, or without an asked one.
    """
    modalities = tuple(modality for modality in Modality if modality in stores)
    chosen = {modality: _choose_layers(stores[modality], layers) for modality in modalities}
    if len({len(numbers) for numbers in chosen.values()}) > 1:
        kept = "; ".join(f"{m.value} keeps {', '.join(map(str, chosen[m]))}" for m in modalities)
        raise IncompatibleError(
            f"stores with different counts of kept layers cannot be trained together: {kept}",
            remedy="Pick layers that all of them keep: --set model.layers=[0,2]",
        )
    hidden, presence = [], []
    for modality in modalities:
        store = stores[modality]
        rows = np.searchsorted(store.item_ids, np.asarray(item_ids))
        hidden.append(torch.from_numpy(store.read(rows, chosen[modality])))
        presence.append(torch.from_numpy(store.presence[rows]))
    return FeatureTable(modalities, tuple(hidden), torch.stack(presence, dim=1))


def _choose_layers(store: FeatureStore, layers: tuple[int, ...] | None) -> tuple[int, ...]:
    if layers is None:
        return store.layers
    absent = [number for number in layers if number not in store.layers]
    if absent:
        kept = ", ".join(map(str, store.layers))
        raise IncompatibleError(f"model.layers: {store.path} keeps {kept}, not {', '.join(map(str, absent))}")
    return layers
