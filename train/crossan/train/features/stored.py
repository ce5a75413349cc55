"""The hidden states of the catalogue in their stores, from which every residence is filled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from crossan.cache_schema.errors import IncompatibleError
from crossan.common.stores import FeatureStore
from crossan.train.features.int8 import Int8Channels, relative_errors
from crossan.train.features.moments import LayerMoments, layer_moments
from crossan.train.features.standardise import Standardiser, Standardisers
from crossan.train.features.table import States
from crossan.train.sequences.splits import CatalogueRows
from crossan.train.settings.models import LayersRead, layers_read
from crossan.train.settings.tower import Tower, in_order

__all__ = ["StoredStates"]

_BLOCK = 1_024
"""Items read at a time."""
_SAMPLE = 1_024
"""Items that the eight bits are fitted to."""


class StoredStates:
    """One store per modality, read by catalogue row.

    Parameters
    ----------
    stores
        Each must know every item.
    item_ids
        The catalogue, sorted.
    layers
        Layer numbers to read from every store; None for all that it keeps.
    permute_seeds
        Seeds, each of which shuffles the rows between the items once more. It
        is the control experiment in which content cannot help. The modalities
        of an item stay together, and nothing is copied.

    Raises
    ------
    IncompatibleError
        The stores keep different numbers of layers, or one lacks a layer that
        is requested.

    Attributes
    ----------
    modalities
        What the stores are known by, in the order of `in_order`.
    presence
        Which modalities each item has, ``(items, modality)`` bool.
    """

    def __init__(
        self,
        stores: Mapping[Tower, FeatureStore],
        item_ids: Sequence[str] | npt.NDArray[np.str_],
        layers: LayersRead = None,
        permute_seeds: Sequence[int] = (),
    ) -> None:
        self.modalities = tuple(in_order(stores))
        layers_of = {
            modality: _choose_layers(stores[modality], layers) for modality in self.modalities
        }
        # Layer i of one modality meets layer i of the others in a gate, whatever their numbers are.
        if len({len(numbers) for numbers in layers_of.values()}) > 1:
            kept = "; ".join(
                f"{m.value} keeps {', '.join(map(str, layers_of[m]))}" for m in self.modalities
            )
            raise IncompatibleError(
                f"stores with different counts of kept layers cannot be trained together: {kept}",
                remedy="Pick layers that all of them keep, --set model.layers=[0,2], or one"
                " modality: --modality text",
            )
        order = np.arange(len(item_ids))
        for seed in permute_seeds:
            order = order[np.random.default_rng(seed).permutation(len(order))]
        self._stores = [stores[modality] for modality in self.modalities]
        self._layers = [layers_of[modality] for modality in self.modalities]
        self._rows = [
            np.searchsorted(store.item_ids, np.asarray(item_ids))[order] for store in self._stores
        ]
        self.presence = np.stack(
            [store.presence[rows] for store, rows in zip(self._stores, self._rows, strict=True)],
            axis=1,
        )
        self._standardisers: list[Standardiser] | None = None
        self._channels: list[Int8Channels] | None = None

    def moments(self) -> dict[Tower, LayerMoments]:
        """Return what the layers are like across the items that have each modality.

        All stored hidden states are read for it, block by block.
        """
        moments = {}
        for number, modality in enumerate(self.modalities):
            # In the order of the store, so that a permuted run has the same bits.
            rows = np.sort(self._rows[number][self.presence[:, number]])
            moments[modality] = layer_moments(self._stores[number], rows, self._layers[number])
        return moments

    def standardise(self, standardisers: Standardisers) -> None:
        """Have all hidden states standardised from now on, before they are packed."""
        self._standardisers = [standardisers[modality] for modality in self.modalities]

    def pack(self) -> dict[Tower, tuple[float, float]]:
        """Have all hidden states packed to int8 from now on.

        Returns the relative error of each modality, mean and largest. Channels
        and errors are those of at most 1,024 items, spread over the store.
        """
        channels, errors = [], {}
        for number, modality in enumerate(self.modalities):
            store, rows = self._stores[number], self._rows[number]
            # In the order of the store, so that a permuted run packs with the same channels.
            present = np.sort(rows[store.presence[rows]])
            sampled = present[:: max(1, -(-len(present) // _SAMPLE))]
            sample = torch.from_numpy(store.read(sampled, self._layers[number], is_mapped=False))
            self._apply(number, sample)
            fitted = Int8Channels.of(sample)
            error = relative_errors(sample, fitted.pack(sample))
            is_empty = not len(sampled)
            errors[modality] = (0.0, 0.0) if is_empty else (float(error.mean()), float(error.max()))
            channels.append(fitted)
        self._channels = channels
        return errors

    @property
    def item_count(self) -> int:
        """Number of items in the catalogue."""
        return len(self.presence)

    @property
    def dims(self) -> list[int]:
        """Width of each modality's hidden states."""
        return [store.dim for store in self._stores]

    @property
    def layer_count(self) -> int:
        """Number of kept layers, the same for every modality."""
        return len(self._layers[0])

    def layers_of(self, modality: Tower) -> tuple[int, ...]:
        """Return the numbers of the layers that are read of a modality, lowest first."""
        return self._layers[self.modalities.index(modality)]

    @property
    def row_bytes(self) -> int:
        """Size of one item's gathered hidden states in bytes, all modalities together."""
        return sum(self.layer_count * store.dim * store.dtype.itemsize for store in self._stores)

    @property
    def resident_row_bytes(self) -> int:
        """Size of one item's hidden states in bytes as they are kept."""
        if self._channels is None:
            return self.row_bytes
        # A byte a number, and the float32 scale of each layer.
        return sum(self.layer_count * (store.dim + 4) for store in self._stores)

    @property
    def index_bytes(self) -> int:
        """Size in bytes of what says where in the stores each item's rows are."""
        kept = self.presence.nbytes + sum(rows.nbytes for rows in self._rows)
        return kept + sum(store.index_bytes for store in self._stores)

    def row_of(self, modality: int) -> tuple[tuple[int, int], np.dtype[Any]]:
        """Return shape ``(layer, dim)`` and dtype of one item's gathered hidden states."""
        store = self._stores[modality]
        return (self.layer_count, store.dim), store.dtype

    def empty(self, modality: int, item_count: int, *, is_pinned: bool = False) -> Tensor:
        """Return an uninitialised tensor for the gathered hidden states of some items.

        It is ``(items, layer, dim)`` on the CPU.
        """
        store = self._stores[modality]
        # numpy and torch name their dtypes differently: an empty array translates.
        dtype = torch.from_numpy(np.empty(0, store.dtype)).dtype
        return torch.empty(
            (item_count, self.layer_count, store.dim), dtype=dtype, pin_memory=is_pinned
        )

    def read(self, modality: int, rows: CatalogueRows, out: npt.NDArray[Any]) -> None:
        """Read hidden states as training sees them.

        Where they are kept packed, these are packed and unpacked again, so that
        a run has the same numbers in every residence.

        Parameters
        ----------
        modality
            Position in `modalities`.
        rows
            Catalogue rows, ``(n,)``.
        out
            ``(n, layer, dim)`` in the dtype of the store, C-contiguous.

        Raises
        ------
        StoreIntegrityError
            The bytes of a chunk are not those that were recorded.
        """
        self._read_stored(modality, rows, out)
        if self._channels is not None:
            states = torch.from_numpy(out)
            packed = self._channels[modality].pack(states)
            states.copy_(packed.index_select(0, torch.arange(len(rows))))

    def load(self, modality: int, rows: CatalogueRows, device: torch.device) -> States:
        """Return hidden states to keep, in the order of the rows, packed if `pack` was called.

        Raises
        ------
        StoreIntegrityError
            As `read`.
        """
        if self._channels is None and device.type == "cpu":
            whole = self.empty(modality, len(rows))
            self._load_stored(modality, rows, whole.numpy())
            return whole
        if self._channels is None:
            table = self.empty(modality, 0).new_empty(
                (len(rows), self.layer_count, self._stores[modality].dim), device=device
            )
            for start, block in self._blocks(modality, rows):
                table[start : start + len(block)] = block
            return table
        packed = self._channels[modality].room(len(rows), device)
        for start, block in self._blocks(modality, rows):
            packed.put(start, block)
        return packed

    def recheck(self, *, is_changed_only: bool = False) -> Iterator[int]:
        """Compare the chunks of all stores with their records, as `FeatureStore.recheck` does."""
        return chain.from_iterable(
            store.recheck(is_changed_only=is_changed_only) for store in self._stores
        )

    def _blocks(self, modality: int, rows: CatalogueRows) -> Iterator[tuple[int, Tensor]]:
        """Yield the hidden states of some rows block by block, each with the position of its first.

        All of them go through one buffer: RAM may have no room for what the
        device can hold, or what fits in eight bits a number.
        """
        buffer = self.empty(modality, min(_BLOCK, len(rows)))
        for start in range(0, len(rows), _BLOCK):
            block_rows = rows[start : start + _BLOCK]
            block = buffer[: len(block_rows)]
            self._read_stored(modality, block_rows, block.numpy())
            yield start, block

    def _load_stored(self, modality: int, rows: CatalogueRows, out: npt.NDArray[Any]) -> None:
        """Read many rows, a whole store at once and anything else block by block."""
        store, store_rows = self._stores[modality], self._rows[modality][rows]
        has_all_layers = self._layers[modality] == store.layers
        has_all_rows = len(store_rows) == len(store.item_ids)
        is_in_order = bool((store_rows[1:] > store_rows[:-1]).all())
        # `FeatureStore.load` gives rows in the order of the store only. It decodes bfloat16 all at
        # once, which would take the memory of a second table.
        is_decoded = store.identity.stored_dtype == "bfloat16"
        if has_all_layers and has_all_rows and is_in_order and not is_decoded:
            store.load(out)
            self._apply(modality, torch.from_numpy(out))
            return
        for start in range(0, len(rows), _BLOCK):
            self._read_stored(modality, rows[start : start + _BLOCK], out[start : start + _BLOCK])

    def _read_stored(self, modality: int, rows: CatalogueRows, out: npt.NDArray[Any]) -> None:
        store_rows = self._rows[modality][rows]
        # Not mapped: pages of a mapped file count as this process's memory, and `--max-ram` is a
        # promise about that.
        self._stores[modality].read(store_rows, self._layers[modality], out, is_mapped=False)
        self._apply(modality, torch.from_numpy(out))

    def _apply(self, modality: int, states: Tensor) -> None:
        """Standardise what a store gave, in place, if `standardise` was called."""
        if self._standardisers is not None:
            self._standardisers[modality].apply(states)


def _choose_layers(store: FeatureStore, layers: LayersRead) -> tuple[int, ...]:
    chosen = layers_read(store.layers, layers)
    lacking = [number for number in chosen if number not in store.layers]
    if lacking:
        kept = ", ".join(map(str, store.layers))
        raise IncompatibleError(
            f"{store.path}: expected the layers that the model asks for,"
            f" {', '.join(map(str, lacking))}, found {kept}",
            remedy="Ask for kept ones: --set model.layers=[...], or for a graph model model.layer=N",
        )
    return chosen
