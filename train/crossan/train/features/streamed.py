"""Hidden states that stay in their stores, but for those of the most popular items."""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from crossan.cache_schema.modality import Modality
from crossan.common.stores.gather import take_rows
from crossan.train.features.interface import Fetched, Gathered
from crossan.train.features.staging import StagingBuffers
from crossan.train.features.stored import Rows, StoredStates
from crossan.train.features.table import States

__all__ = ["SCRATCH_ROWS", "StreamedFeatures"]

SCRATCH_ROWS = 256
"""Rows that are on their way from a store, or from being packed, at a time, beside what is gathered."""
_NOWHERE = -1


class StreamedFeatures:
    """Three places: some items on the device, some in RAM, the rest in the stores.

    Where the device is the CPU, the first place stays empty. Where no item is
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
        Rows that are gathered together, mostly.
    """

    def __init__(
        self,
        stored: StoredStates,
        device: torch.device,
        in_ram: Rows,
        on_device: Rows,
        rows_at_once: int = 1,
    ) -> None:
        self._stored, self._device = stored, device
        self.presence = torch.from_numpy(stored.presence).to(device)
        places = range(len(stored.modalities))
        self._in_ram = (
            [stored.load(m, in_ram, torch.device("cpu")) for m in places] if len(in_ram) else []
        )
        self._on_device = (
            [stored.load(m, on_device, device) for m in places] if len(on_device) else []
        )
        self._staging = [StagingBuffers(*stored.row_of(m), rows_at_once) for m in places]
        self._ram_slots = _slots(in_ram, stored.item_count)
        self._device_slots = _slots(on_device, stored.item_count)

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """Modalities, in the order of `Modality`."""
        return self._stored.modalities

    @property
    def dims(self) -> list[int]:
        """Width of each modality's hidden states."""
        return self._stored.dims

    @property
    def layer_count(self) -> int:
        """Kept layers of every modality."""
        return self._stored.layer_count

    def gather(self, rows: Tensor) -> Gathered:
        """Return hidden states and presence of the given catalogue rows."""
        return self.fetch(rows).gather(rows)

    def fetch(self, rows: Tensor) -> Fetched:
        """Begin to gather catalogue rows: bring together in RAM what the device does not hold.

        Raises
        ------
        StoreIntegrityError
            The bytes of a chunk, checked when it is first touched, are not those recorded.
        """
        wanted = rows.cpu().numpy()
        slots = self._device_slots[wanted]
        coming = wanted[slots == _NOWHERE]
        staged = [
            self._bring_together(modality, coming) for modality in range(len(self.modalities))
        ]
        return Fetched(rows, partial(self._finish, rows, torch.from_numpy(slots), staged))

    def _bring_together(self, modality: int, rows: Rows) -> Tensor:
        """Return the hidden states of rows that the device does not hold, ``(n, layer, dim)`` on the CPU."""
        if self._device.type == "cpu":
            out = self._staging[modality].take(len(rows))
        else:  # torch keeps pinned memory for the next time by itself
            out = self._stored.empty(modality, len(rows), is_pinned=True)
        slots = self._ram_slots[rows]
        missing = np.flatnonzero(slots == _NOWHERE)
        if len(missing) < len(rows):
            _take(self._in_ram[modality], slots, out)
        if len(missing) == len(rows):
            self._stored.read(modality, rows, out.numpy())
            return out
        scratch = self._stored.empty(modality, min(SCRATCH_ROWS, len(missing))).numpy()
        for start in range(0, len(missing), SCRATCH_ROWS):
            places = missing[start : start + SCRATCH_ROWS]
            self._stored.read(modality, rows[places], scratch[: len(places)])
            out.numpy()[places] = scratch[: len(places)]
        return out

    def _finish(self, rows: Tensor, slots: Tensor, staged: list[Tensor]) -> Gathered:
        """Upload what was staged and put it between what the device holds."""
        hidden = [states.to(self._device, non_blocking=True) for states in staged]
        if self._on_device:
            here, coming = (slots != _NOWHERE).nonzero()[:, 0], (slots == _NOWHERE).nonzero()[:, 0]
            places, slots = (
                (here.to(self._device), coming.to(self._device)),
                slots[here].to(self._device),
            )
            hidden = [
                uploaded.new_empty((len(rows), *uploaded.shape[1:]))
                .index_copy_(0, places[0], kept.index_select(0, slots))
                .index_copy_(0, places[1], uploaded)
                for kept, uploaded in zip(self._on_device, hidden, strict=True)
            ]
        return hidden, self.presence[rows.to(self._device)]


def _slots(rows: Rows, item_count: int) -> npt.NDArray[np.int64]:
    """Return each item's place among the rows, `_NOWHERE` for those that are not there, ``(items,)``."""
    slots = np.full(item_count, _NOWHERE, np.int64)
    slots[rows] = np.arange(len(rows))
    return slots


def _take(states: States, slots: npt.NDArray[np.int64], out: Tensor) -> None:
    """Copy kept rows to their place; for `_NOWHERE` anything is copied."""
    if isinstance(states, Tensor):
        take_rows(states.numpy(), slots, out.numpy())  # which takes the first for what is below 0
        return
    found = np.flatnonzero(slots != _NOWHERE)
    for start in range(0, len(found), SCRATCH_ROWS):
        places = torch.from_numpy(found[start : start + SCRATCH_ROWS])
        out.index_copy_(0, places, states.index_select(0, torch.from_numpy(slots)[places]))
