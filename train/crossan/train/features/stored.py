"""The hidden states of the catalogue in their stores: what every residence is filled from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from crossan.cache_schema.errors import IncompatibleError
from crossan.cache_schema.modality import Modality
from crossan.common.stores import FeatureStore
from crossan.train.features.int8 import Int8Channels, relative_errors
from crossan.train.features.table import States

__all__ = ["StoredStates"]

_BLOCK = 1_024
"""Items read at a time."""
_SAMPLE = 1_024
"""Items that the eight bits are fitted to."""

Rows = npt.NDArray[np.int64]


class StoredStates:
    """One store per modality, read by catalogue row.

    Parameters
    ----------
    stores
        Each must know every item.
    item_ids
        The catalogue, sorted.
    layers
        Layer numbers to read from every store; None for all it keeps.
    permute_seeds
        Shuffle the rows between the items with each of these seeds in turn: the control that content cannot help.
        An item's modalities stay together. Nothing is copied.

    Raises
    ------
    IncompatibleError
        Stores with different counts of kept layers, or without an asked one.

    Attributes
    ----------
    modalities
        In the order of `Modality`.
    presence
        Which modalities each item has, ``(items, modality)`` bool.
    """

    def __init__(
        self,
        stores: Mapping[Modality, FeatureStore],
        item_ids: Sequence[str] | npt.NDArray[np.str_],
        layers: tuple[int, ...] | None = None,
        permute_seeds: Sequence[int] = (),
    ) -> None:
        self.modalities = tuple(modality for modality in Modality if modality in stores)
        chosen = {
            modality: _choose_layers(stores[modality], layers) for modality in self.modalities
        }
        if len({len(numbers) for numbers in chosen.values()}) > 1:
            kept = "; ".join(
                f"{m.value} keeps {', '.join(map(str, chosen[m]))}" for m in self.modalities
            )
            raise IncompatibleError(
                f"stores with different counts of kept layers cannot be trained together: {kept}",
                remedy="Pick layers that all of them keep: --set model.layers=[0,2]",
            )
        order = np.arange(len(item_ids))
        for seed in permute_seeds:
            order = order[np.random.default_rng(seed).permutation(len(order))]
        self._stores = [stores[modality] for modality in self.modalities]
        self._layers = [chosen[modality] for modality in self.modalities]
        self._rows = [
            np.searchsorted(store.item_ids, np.asarray(item_ids))[order] for store in self._stores
        ]
        self.presence = np.stack(
            [store.presence[rows] for store, rows in zip(self._stores, self._rows, strict=True)],
            axis=1,
        )
        self._channels: list[Int8Channels] | None = None

    def pack(self) -> dict[Modality, tuple[float, float]]:
        """Have all hidden states packed to int8 from now on; return the relative error of each modality, mean and largest.

        The channels, and the errors, are those of at most 1,024 items, spread
        over the store: they do not depend on how the rows are permuted.
        """
        channels, errors = [], {}
        for modality, store, layers, rows in zip(
            self.modalities, self._stores, self._layers, self._rows, strict=True
        ):
            present = np.sort(rows[store.presence[rows]])
            chosen = present[:: max(1, -(-len(present) // _SAMPLE))]
            sample = torch.from_numpy(store.read(chosen, layers, is_mapped=False))
            found = Int8Channels.of(sample)
            lost = relative_errors(sample, found.pack(sample))
            errors[modality] = (
                (float(lost.mean()), float(lost.max())) if len(chosen) else (0.0, 0.0)
            )
            channels.append(found)
        self._channels = channels
        return errors

    @property
    def item_count(self) -> int:
        """Items of the catalogue."""
        return len(self.presence)

    @property
    def dims(self) -> list[int]:
        """Width of each modality's hidden states."""
        return [store.dim for store in self._stores]

    @property
    def layer_count(self) -> int:
        """Kept layers of every modality."""
        return len(self._layers[0])

    @property
    def row_bytes(self) -> int:
        """Bytes of one item's gathered hidden states, all modalities together."""
        return sum(self.layer_count * store.dim * store.dtype.itemsize for store in self._stores)

    @property
    def resident_row_bytes(self) -> int:
        """Bytes of one item's hidden states where they are kept."""
        if self._channels is None:
            return self.row_bytes
        return sum(self.layer_count * (store.dim + 4) for store in self._stores)

    @property
    def index_bytes(self) -> int:
        """Bytes of what is kept per item beside the hidden states: which rows of the stores they are."""
        kept = self.presence.nbytes + sum(rows.nbytes for rows in self._rows)
        return kept + sum(store.index_bytes for store in self._stores)

    def row_of(self, modality: int) -> tuple[tuple[int, int], np.dtype[Any]]:
        """Return shape ``(layer, dim)`` and dtype of one item's gathered hidden states."""
        store = self._stores[modality]
        return (self.layer_count, store.dim), store.dtype

    def empty(self, modality: int, item_count: int, *, is_pinned: bool = False) -> Tensor:
        """Return room for the gathered hidden states of some items, ``(items, layer, dim)``, on the CPU."""
        store = self._stores[modality]
        dtype = torch.from_numpy(np.empty(0, store.dtype)).dtype
        return torch.empty(
            (item_count, self.layer_count, store.dim), dtype=dtype, pin_memory=is_pinned
        )

    def read(self, modality: int, rows: Rows, out: npt.NDArray[Any]) -> None:
        """Read hidden states as training sees them; where they are packed, packed and unpacked again.

        Parameters
        ----------
        modality
            Place among `modalities`.
        rows
            Catalogue rows, ``(n,)``.
        out
            ``(n, layer, dim)`` in the dtype of the store, C-contiguous.

        Raises
        ------
        StoreIntegrityError
            The bytes of a chunk are not those recorded.
        """
        self._read_stored(modality, rows, out)
        if self._channels is not None:
            states = torch.from_numpy(out)
            states.copy_(
                self._channels[modality].pack(states).index_select(0, torch.arange(len(rows)))
            )

    def load(self, modality: int, rows: Rows, device: torch.device) -> States:
        """Return hidden states to keep, packed where they are, in the order of the rows.

        Raises
        ------
        StoreIntegrityError
            As `read`.
        """
        if self._channels is None and device.type == "cpu":
            whole = self.empty(modality, len(rows))
            self._load_stored(modality, rows, whole.numpy())
            return whole
        blocks = range(0, len(rows), _BLOCK)
        buffer = self.empty(modality, min(_BLOCK, len(rows)))
        room = None if self._channels is None else self._channels[modality].room(len(rows), device)
        table = buffer.new_empty((0 if room else len(rows), *buffer.shape[1:]), device=device)
        for start in blocks:
            block = buffer[: len(rows[start : start + _BLOCK])]
            self._read_stored(modality, rows[start : start + _BLOCK], block.numpy())
            if room is None:
                table[start : start + len(block)] = block
            else:
                room.put(start, block)
        return table if room is None else room

    def _load_stored(self, modality: int, rows: Rows, out: npt.NDArray[Any]) -> None:
        """Read many rows: a whole store in one go, anything else block by block."""
        store, own = self._stores[modality], self._rows[modality][rows]
        is_whole = self._layers[modality] == store.layers and len(own) == len(store.item_ids)
        if (
            is_whole
            and store.identity.stored_dtype != "bfloat16"
            and bool((own[1:] > own[:-1]).all())
        ):
            store.load(out)
            return
        for start in range(0, len(rows), _BLOCK):
            self._read_stored(modality, rows[start : start + _BLOCK], out[start : start + _BLOCK])

    def _read_stored(self, modality: int, rows: Rows, out: npt.NDArray[Any]) -> None:
        own = self._rows[modality][rows]
        self._stores[modality].read(own, self._layers[modality], out, is_mapped=False)


def _choose_layers(store: FeatureStore, layers: tuple[int, ...] | None) -> tuple[int, ...]:
    if layers is None:
        return store.layers
    absent = [number for number in layers if number not in store.layers]
    if absent:
        kept = ", ".join(map(str, store.layers))
        raise IncompatibleError(
            f"model.layers: {store.path} keeps {kept}, not {', '.join(map(str, absent))}"
        )
    return layers
