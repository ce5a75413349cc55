"""Where the hidden states live: on the device, in RAM or in their stores, and how much of them.

No number of a run depends on it, so it is no setting: it is said anew for
every command, like ``--device``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import torch

from crossan.cache_schema.errors import CrossanError, ResourceError, UsageError
from crossan.common.console import note
from crossan.common.memory import available_ram, parse_size, show_size
from crossan.train.features.interface import Features
from crossan.train.features.stored import Rows, StoredStates
from crossan.train.features.streamed import SCRATCH_ROWS, StreamedFeatures
from crossan.train.features.table import FeatureTable

__all__ = ["Demand", "Placement", "Residence", "place_features"]

Residence = Literal["auto", "device", "host", "streamed"]
"""``device``: all of it where the model computes. ``host``: all of it in RAM. ``streamed``: the most popular items
in RAM, the rest in the stores. ``auto``: the first of these that fits."""

_SHARE_OF_FREE = 0.8
"""What is taken, where no limit is given, of the memory that there is; weights and activations need some."""


@dataclass(frozen=True, slots=True)
class Placement:
    """What the user asked for; sizes in bytes, None where no limit was given."""

    residence: Residence = "auto"
    max_ram: int | None = None
    max_device_memory: int | None = None
    sharers: int = 1
    """Processes on this machine that divide its free RAM; a limit given is each one's own."""

    @classmethod
    def parse(cls, residence: str, max_ram: str | None, max_device_memory: str | None) -> Placement:
        """Read ``--residence``, ``--max-ram`` and ``--max-device-memory``.

        Raises
        ------
        UsageError
            No such residence, or no size.
        """
        known = get_args(Residence)
        if residence not in known:
            raise UsageError(f"--residence {residence}: expected {', '.join(known)}")
        return cls(
            residence,  # type: ignore[arg-type]
            None if max_ram is None else parse_size(max_ram, "--max-ram"),
            None
            if max_device_memory is None
            else parse_size(max_device_memory, "--max-device-memory"),
        )


@dataclass(frozen=True, slots=True)
class Demand:
    """What will be asked of the features."""

    rows_at_once: int
    """Rows gathered together at most."""
    gathers_at_once: int = 2
    """Gathers alive together at most: what is in use, and what is prepared meanwhile."""
    counts: Rows | None = None
    """How often training uses each item, ``(items,)``; None where every item is used once."""
    other_bytes: int = 0
    """RAM that is kept per item beside the features and their index: the catalogue, the item vectors."""


def place_features(
    stored: StoredStates, placement: Placement, device: torch.device, demand: Demand
) -> Features:
    """Load what is to be kept and say on one line where it is.

    Parameters
    ----------
    stored
        The stores.
    placement
        What the user asked for.
    device
        Where the model computes.
    demand
        What will be asked of the features.

    Raises
    ------
    UsageError
        The limits given do not do, or name a device that is none.
    ResourceError
        The machine's memory does not do.
    """
    if device.type == "cpu" and placement.max_device_memory is not None:
        raise UsageError(
            "--max-device-memory: expected an accelerator, computing on the CPU",
            remedy="Use --max-ram",
        )
    room = _Room.of(stored, placement, device, demand)
    everything = np.arange(stored.item_count)
    on_cpu = device.type == "cpu"
    if room.chosen == "device" or (on_cpu and room.chosen == "host"):
        tables = tuple(stored.load(m, everything, device) for m in range(len(stored.modalities)))
        note(
            f"features: all {show_size(room.table)} in {'RAM' if on_cpu else f'the memory of {device}'}"
        )
        return FeatureTable(stored.modalities, tables, torch.from_numpy(stored.presence).to(device))
    popular = everything if demand.counts is None else np.argsort(-demand.counts, kind="stable")
    on_device, in_ram = np.split(popular[: room.device_items + room.ram_items], [room.device_items])
    note(room.in_words())
    return StreamedFeatures(
        stored, device, np.sort(in_ram), np.sort(on_device), demand.rows_at_once
    )


@dataclass(frozen=True, slots=True)
class _Need:
    """What a residence wants of one kind of memory, in bytes."""

    flag: str
    """Which gives the limit."""
    limit: int
    fixed: int
    """What is wanted however much is kept."""
    what: str
    """The same in words."""
    table: int = 0
    """All hidden states, where they must have room."""

    @property
    def total(self) -> int:
        """All that is wanted."""
        return self.fixed + self.table

    @property
    def left(self) -> int:
        """What the limit leaves, below 0 where it does not do."""
        return self.limit - self.total


@dataclass(frozen=True, slots=True)
class _Room:
    """What fits where; all in bytes but the items."""

    chosen: Residence
    item_count: int
    table: int
    """All hidden states, as they are kept."""
    batches: int
    """The gathered hidden states alive at once, and the scratch rows of those that are not in use yet."""
    index: int
    device_items: int
    ram_items: int
    kept: int

    @classmethod
    def of(
        cls, stored: StoredStates, placement: Placement, device: torch.device, demand: Demand
    ) -> _Room:
        """Choose the residence and how many items to keep where.

        Raises
        ------
        UsageError, ResourceError
            A limit that was given, or the machine's memory, does not do for it.
        """
        each, index = stored.resident_row_bytes, stored.index_bytes + demand.other_bytes
        table, gathered = (
            each * stored.item_count,
            demand.gathers_at_once * demand.rows_at_once * stored.row_bytes,
        )
        scratch = min(SCRATCH_ROWS, stored.item_count) * stored.row_bytes
        batches, on_cpu = gathered + (demand.gathers_at_once - 1) * scratch, device.type == "cpu"
        in_words = f"{demand.gathers_at_once} batches"
        ram = _Need(
            "--max-ram",
            _limit_of_ram(placement),
            index + batches,
            f"{in_words} and the items' index",
        )
        memory = _Need(
            "--max-device-memory",
            _limit_of_device(placement, device, gathered),
            gathered,
            f"{in_words} on {device}",
        )
        beside = [] if on_cpu else [memory]
        needs: dict[Residence, list[_Need]] = {
            "device": [replace(ram if on_cpu else memory, table=table)],
            "host": [replace(ram, table=table), *beside],
            "streamed": [ram, *beside],
        }
        fitting = [name for name, wanted in needs.items() if all(need.left >= 0 for need in wanted)]
        chosen = placement.residence if placement.residence != "auto" else [*fitting, "streamed"][0]
        for need in needs[chosen]:
            if need.left < 0:
                raise _too_small(chosen, placement, need)
        device_items = 0 if on_cpu else min(max(memory.left, 0) // each, stored.item_count)
        left = stored.item_count - device_items
        ram_items = left if chosen == "host" else min(max(ram.left, 0) // each, left)
        if demand.counts is None and chosen == "streamed":
            device_items = ram_items = 0  # what is used once is not worth keeping
        return cls(chosen, stored.item_count, table, batches, index, device_items, ram_items, each)

    def in_words(self) -> str:
        """Return the line that is shown."""
        others = (
            f"{show_size(self.batches)} for batches, {show_size(self.index)} for the items' index"
        )
        kept = f"{self.ram_items:,} of {self.item_count:,} items, {show_size(self.ram_items * self.kept)}, in RAM"
        if self.device_items:
            kept = f"{self.device_items:,} items, {show_size(self.device_items * self.kept)}, on the device; {kept}"
        if self.chosen == "host":
            return f"features: {kept}; {others}"
        return f"features: streamed from {show_size(self.table)}; the most popular {kept}; {others}"


def _limit_of_ram(placement: Placement) -> int:
    if placement.max_ram is not None:
        return placement.max_ram
    return int(_SHARE_OF_FREE * available_ram() / placement.sharers)


def _limit_of_device(placement: Placement, device: torch.device, gathered: int) -> int:
    if device.type == "cpu":
        return 0
    if placement.max_device_memory is not None:
        return placement.max_device_memory
    if device.type != "cuda":
        return (
            gathered  # nobody says what is free there: it must do for a step, and nothing is kept
        )
    free, _ = torch.cuda.mem_get_info(device)
    return int(_SHARE_OF_FREE * free)


def _too_small(chosen: Residence, placement: Placement, need: _Need) -> CrossanError:
    given = placement.max_ram if need.flag == "--max-ram" else placement.max_device_memory
    source = f"{need.flag} allows" if given is not None else "free for it are"
    what = f"the features, {need.what}" if need.table else need.what
    # To the next unit up, so that what is proposed does.
    remedies = (
        [f"allow more: {need.flag} {-(-need.total // 2**20)}MiB"] if given is not None else []
    )
    if need.table:
        remedies.insert(0, "use --residence streamed")
    elif not remedies:
        remedies = ["use a smaller batch: --set batch_size=..., or a machine with more memory"]
    message = (
        f"features, residence {chosen}: {what} need {show_size(need.total)} ({need.total:,} bytes),"
        f" {source} {show_size(need.limit)}"
    )
    remedy = ", or ".join(remedies)
    remedy = remedy[0].upper() + remedy[1:]
    return (
        UsageError(message, remedy=remedy)
        if given is not None
        else ResourceError(message, remedy=remedy)
    )
