"""The residence where hidden states stay in their stores, except those of popular items."""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from crossan.common.stores.gather import take_rows
from crossan.train.features.interface import Fetched, Gathered
from crossan.train.features.rechecking import Rechecking
from crossan.train.features.staging import StagingBuffers
from crossan.train.features.stored import StoredStates
from crossan.train.features.table import States
from crossan.train.sequences.splits import CatalogueRows
from crossan.train.settings.tower import Tower

__all__ = ["SCRATCH_ROWS", "StreamedFeatures"]

SCRATCH_ROWS = 256
"""Most rows that are being read from a store, or unpacked, at one time."""
_NOWHERE = -1
"""The slot of an item that is not kept."""


class StreamedFeatures:
    """Keep some items on the device and some in RAM, and read the rest from the stores.

    Where the device is the CPU, none are kept as on a device. Where no item is
    left to the stores, this is the residence `host`.

    Parameters
    ----------
    stored
        The stores.
    device
        Where the model computes.
    in_ram, on_device
        Catalogue rows to keep there, ascending, none of them twice.
    rows_at_once
        Rows that are usually gathered together.
    is_rechecked
        Whether the stores are compared with their records once an epoch, as
        they are in the residence `streamed`.
    """

    def __init__(
        self,
        stored: StoredStates,
        device: torch.device,
        in_ram: CatalogueRows,
        on_device: CatalogueRows,
        rows_at_once: int = 1,
        *,
        is_rechecked: bool = False,
    ) -> None:
        self._stored, self._device, self._is_rechecked = stored, device, is_rechecked
        self.presence = torch.from_numpy(stored.presence).to(device)
        modalities = range(len(stored.modalities))
        self._in_ram: list[States] = []
        if len(in_ram):
            self._in_ram = [stored.load(m, in_ram, torch.device("cpu")) for m in modalities]
        self._on_device: list[States] = []
        if len(on_device):
            self._on_device = [stored.load(m, on_device, device) for m in modalities]
        self._staging = [StagingBuffers(*stored.row_of(m), rows_at_once) for m in modalities]
        self._ram_slots = _slots(in_ram, stored.item_count)
        self._device_slots = _slots(on_device, stored.item_count)

    @property
    def modalities(self) -> tuple[Tower, ...]:
        """The modalities in use, in the order of `Modality`."""
        return self._stored.modalities

    @property
    def dims(self) -> list[int]:
        """Width of each modality's hidden states."""
        return self._stored.dims

    @property
    def layer_count(self) -> int:
        """Number of kept layers, the same for every modality."""
        return self._stored.layer_count

    def row_of(self, modality: int) -> tuple[tuple[int, int], torch.dtype]:
        """Return shape ``(layer, dim)`` and dtype of one item's gathered hidden states."""
        return self._stored.row_of(modality)[0], self._stored.empty(modality, 0).dtype

    @property
    def holds_some_on_device(self) -> bool:
        """Whether an accelerator keeps some items."""
        return bool(self._on_device)

    def count_on_device(self, rows: Tensor) -> int:
        """Return how many of some catalogue rows an accelerator keeps."""
        return int((self._device_slots[rows.cpu().numpy()] != _NOWHERE).sum())

    def kept_on_device(self) -> list[States]:
        """Return the hidden states that are kept where the model computes, by modality."""
        return self._in_ram if self._device.type == "cpu" else self._on_device

    def gather(self, rows: Tensor) -> Gathered:
        """Return hidden states and presence of catalogue rows."""
        return self.fetch(rows).gather(rows)

    def recheck(self) -> Rechecking:
        """Return a comparison of all chunks with their records, where the stores are read."""
        if not self._is_rechecked:
            return Rechecking(None)
        return Rechecking(self._stored.recheck(), self._stored.recheck(is_changed_only=True))

    def fetch(self, rows: Tensor) -> Fetched:
        """Begin to gather catalogue rows.

        The rows that the device does not hold are brought together in RAM.

        Raises
        ------
        StoreIntegrityError
            The bytes of a chunk are not those that were recorded, or no more.
        """
        requested = rows.cpu().numpy()
        slots = self._device_slots[requested]
        not_on_device = requested[slots == _NOWHERE]
        staged = [
            self._bring_together(modality, not_on_device)
            for modality in range(len(self.modalities))
        ]
        # Worked out here and not on the device: `nonzero` there waits for it.
        held, missing = np.flatnonzero(slots != _NOWHERE), np.flatnonzero(slots == _NOWHERE)
        indices = [
            self._for_upload(torch.from_numpy(index))
            for index in (requested, held, slots[held], missing)
        ]
        return Fetched(rows, partial(self._finish, indices, staged))

    def _for_upload(self, index: Tensor) -> Tensor:
        """Return an index where the device copies from without waiting."""
        return index.pin_memory() if self._device.type == "cuda" else index

    def _bring_together(self, modality: int, rows: CatalogueRows) -> Tensor:
        """Return hidden states that the device does not hold, ``(n, layer, dim)`` on the CPU."""
        if self._device.type == "cpu":
            out = self._staging[modality].take(len(rows))
        else:
            # No staging buffer is needed: torch keeps pinned memory for the next time by itself.
            out = self._stored.empty(modality, len(rows), is_pinned=True)
        slots = self._ram_slots[rows]
        missing = np.flatnonzero(slots == _NOWHERE)
        if len(missing) == len(rows):
            self._stored.read(modality, rows, out.numpy())
            return out
        # All rows are copied from RAM in one call, with anything for those that RAM lacks. These
        # are then written over.
        _take(self._in_ram[modality], slots, out)
        scratch = self._stored.empty(modality, min(SCRATCH_ROWS, len(missing))).numpy()
        for start in range(0, len(missing), SCRATCH_ROWS):
            positions = missing[start : start + SCRATCH_ROWS]
            self._stored.read(modality, rows[positions], scratch[: len(positions)])
            out.numpy()[positions] = scratch[: len(positions)]
        return out

    def _finish(self, indices: list[Tensor], staged: list[Tensor]) -> Gathered:
        """Upload the staged rows and put them between those that the device holds.

        The indices are catalogue rows; where those stand that the device holds, and their slots
        there; and where the staged rows stand.
        """
        rows, held, held_slots, missing = (
            index.to(self._device, non_blocking=True) for index in indices
        )
        hidden = [states.to(self._device, non_blocking=True) for states in staged]
        if self._on_device:
            hidden = [
                uploaded.new_empty((len(rows), *uploaded.shape[1:]))
                .index_copy_(0, held, kept.index_select(0, held_slots))
                .index_copy_(0, missing, uploaded)
                for kept, uploaded in zip(self._on_device, hidden, strict=True)
            ]
        return hidden, self.presence[rows]


def _slots(rows: CatalogueRows, item_count: int) -> npt.NDArray[np.int64]:
    """Return the position of every item in ``rows``, ``(items,)``.

    An item that is not among them has `_NOWHERE`.
    """
    slots = np.full(item_count, _NOWHERE, np.int64)
    slots[rows] = np.arange(len(rows))
    return slots


def _take(states: States, slots: npt.NDArray[np.int64], out: Tensor) -> None:
    """Copy the kept rows of some slots, and anything at all for `_NOWHERE`."""
    if isinstance(states, Tensor):
        # `take_rows` takes the first row for a slot below 0.
        take_rows(states.numpy(), slots, out.numpy())
        return
    # Unpacking makes float32 copies, so only rows that are kept are unpacked, a few at a time.
    kept = np.flatnonzero(slots != _NOWHERE)
    for start in range(0, len(kept), SCRATCH_ROWS):
        positions = torch.from_numpy(kept[start : start + SCRATCH_ROWS])
        out.index_copy_(0, positions, states.index_select(0, torch.from_numpy(slots)[positions]))
