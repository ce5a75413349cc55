"""Which residence the hidden states get, and how many of them fit where.

They can be on the device, in RAM or in their stores. No number of a run depends
on the choice, so it is not a setting: every command is given it anew, like
``--device``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch

from crossan.cache_schema.errors import CrossanError, ResourceError, UsageError
from crossan.common.memory import available_ram, parse_size, show_size
from crossan.train.features.stored import StoredStates
from crossan.train.features.streamed import SCRATCH_ROWS
from crossan.train.sequences.splits import CatalogueRows

__all__ = ["Demand", "Placement", "Plan", "Residence", "make_plan"]

Residence = Literal["auto", "device", "host", "streamed"]
"""Where the hidden states are kept.

``device``: all of them where the model computes. ``host``: all of them in RAM.
``streamed``: those of the most popular items in RAM, the rest in the stores.
``auto``: the first of these three that fits.
"""

_SHARE_OF_FREE = 0.8
"""Share of the free memory that is taken where no limit is given.

Weights and activations need the rest.
"""


@dataclass(frozen=True, slots=True)
class Placement:
    """What the user requested, in bytes, with None where no limit was given."""

    residence: Residence = "auto"
    max_ram: int | None = None
    max_device_memory: int | None = None
    sharers: int = 1
    """Processes on this machine that divide its free RAM.

    A limit that is given holds for each of them.
    """

    @classmethod
    def parse(cls, residence: str, max_ram: str | None, max_device_memory: str | None) -> Placement:
        """Read ``--residence``, ``--max-ram`` and ``--max-device-memory``.

        Raises
        ------
        UsageError
            The residence is unknown, or a limit is not a size.
        """
        known = get_args(Residence)
        if residence not in known:
            raise UsageError(f"--residence {residence}: expected {', '.join(known)}")
        return cls(
            residence,  # type: ignore[arg-type]
            _size_or_none(max_ram, "--max-ram"),
            _size_or_none(max_device_memory, "--max-device-memory"),
        )


@dataclass(frozen=True, slots=True)
class Demand:
    """How the features will be used."""

    rows_at_once: int
    """Most rows that are gathered together."""
    gathers_at_once: int = 2
    """Most gathers alive together: the one in use, and those that are prepared meanwhile."""
    counts: CatalogueRows | None = None
    """How often training uses each item, ``(items,)``; None where every item is used once."""
    other_bytes: int = 0
    """RAM kept beside the features and their index, for example by the item vectors."""


@dataclass(frozen=True, slots=True)
class _Need:
    """What a residence needs of one kind of memory, in bytes."""

    flag: str
    """The flag that gives the limit."""
    limit: int
    fixed: int
    """What is needed however many hidden states are kept."""
    fixed_in_words: str
    table: int = 0
    """Size of all hidden states, where all of them are kept in this memory."""

    @property
    def total(self) -> int:
        """Bytes needed in all."""
        return self.fixed + self.table

    @property
    def left(self) -> int:
        """Bytes that the limit leaves over, below 0 where it is too small."""
        return self.limit - self.total


@dataclass(frozen=True, slots=True)
class Plan:
    """The residence, and how many items are kept where."""

    residence: Residence
    item_count: int
    item_bytes: int
    """Size of the hidden states of one item as they are kept."""
    batch_bytes: int
    """Size of the gathered hidden states alive at once, scratch rows included."""
    index_bytes: int
    device_items: int
    ram_items: int

    @property
    def table_bytes(self) -> int:
        """Size of all hidden states as they are kept."""
        return self.item_bytes * self.item_count

    def in_words(self) -> str:
        """Return the line that is printed where not everything is on the device."""
        others = (
            f"{show_size(self.batch_bytes)} for batches,"
            f" {show_size(self.index_bytes)} for the items' index"
        )
        ram_size = show_size(self.ram_items * self.item_bytes)
        kept = f"{self.ram_items:,} of {self.item_count:,} items, {ram_size}, in RAM"
        if self.device_items:
            device_size = show_size(self.device_items * self.item_bytes)
            kept = f"{self.device_items:,} items, {device_size}, on the device; {kept}"
        if self.residence == "host":
            return f"features: {kept}; {others}"
        streamed = f"streamed from {show_size(self.table_bytes)}"
        return f"features: {streamed}; the most popular {kept}; {others}"


def make_plan(
    stored: StoredStates, placement: Placement, device: torch.device, demand: Demand
) -> Plan:
    """Choose the residence and how many items to keep where.

    Raises
    ------
    UsageError
        A limit that was given is too small.
    ResourceError
        The machine has too little free memory.
    """
    on_cpu = device.type == "cpu"
    item_bytes, index_bytes = stored.resident_row_bytes, stored.index_bytes + demand.other_bytes
    gathered = demand.gathers_at_once * demand.rows_at_once * stored.row_bytes
    # A gather that is in use has been read: only those in preparation hold rows on their way.
    scratch = min(SCRATCH_ROWS, stored.item_count) * stored.row_bytes
    batch_bytes = gathered + (demand.gathers_at_once - 1) * scratch

    # Batches count twice on an accelerator: they are staged in RAM, then copied to the device.
    batches = f"{demand.gathers_at_once} batches"
    ram = _Need(
        "--max-ram",
        _ram_limit(placement),
        index_bytes + batch_bytes,
        f"{batches} and the items' index",
    )
    memory = _Need(
        "--max-device-memory",
        _device_limit(placement, device, gathered),
        gathered,
        f"{batches} on {device}",
    )
    table_bytes = item_bytes * stored.item_count
    beside = [] if on_cpu else [memory]
    needs: dict[Residence, list[_Need]] = {
        "device": [replace(ram if on_cpu else memory, table=table_bytes)],
        "host": [replace(ram, table=table_bytes), *beside],
        "streamed": [ram, *beside],
    }
    residence = _choose_residence(placement, needs)

    device_items = 0 if on_cpu else min(max(memory.left, 0) // item_bytes, stored.item_count)
    others = stored.item_count - device_items
    ram_items = others if residence == "host" else min(max(ram.left, 0) // item_bytes, others)
    if demand.counts is None and residence == "streamed":
        # Every item is used once: keeping it would cost memory and save no read.
        device_items = ram_items = 0
    return Plan(
        residence, stored.item_count, item_bytes, batch_bytes, index_bytes, device_items, ram_items
    )


def _choose_residence(placement: Placement, needs: Mapping[Residence, list[_Need]]) -> Residence:
    """Return the residence that was requested, or the first that fits.

    Raises
    ------
    UsageError, ResourceError
        It does not fit; streaming, which needs least, where none does.
    """
    chosen = placement.residence
    if chosen == "auto":
        fitting = [name for name, each in needs.items() if all(need.left >= 0 for need in each)]
        chosen = fitting[0] if fitting else "streamed"
    for need in needs[chosen]:
        if need.left < 0:
            raise _too_small(chosen, placement, need)
    return chosen


def _size_or_none(text: str | None, flag: str) -> int | None:
    return None if text is None else parse_size(text, flag)


def _ram_limit(placement: Placement) -> int:
    if placement.max_ram is not None:
        return placement.max_ram
    return int(_SHARE_OF_FREE * available_ram() / placement.sharers)


def _device_limit(placement: Placement, device: torch.device, gathered: int) -> int:
    if device.type == "cpu":
        return 0
    if placement.max_device_memory is not None:
        return placement.max_device_memory
    if device.type != "cuda":
        # No other device says how much is free. One step is taken to fit, and nothing is kept.
        return gathered
    free, _ = torch.cuda.mem_get_info(device)
    return int(_SHARE_OF_FREE * free)


def _too_small(residence: Residence, placement: Placement, need: _Need) -> CrossanError:
    """Return the error for a memory that is too small, with a remedy that works."""
    given = placement.max_ram if need.flag == "--max-ram" else placement.max_device_memory
    content = f"the features, {need.fixed_in_words}" if need.table else need.fixed_in_words
    required = f"{show_size(need.total)} ({need.total:,} bytes)"
    limit = show_size(need.limit)
    message = f"features, residence {residence}: {content} need {required}, "
    message += f"only {limit} are free" if given is None else f"{need.flag} allows {limit}"

    remedies = ["use --residence streamed"] if need.table else []
    if given is not None:
        # Rounded up to the next MiB, so that the size that is proposed is enough.
        remedies.append(f"allow more: {need.flag} {-(-need.total // 2**20)}MiB")
    if not remedies:
        remedies = ["use a smaller batch: --set batch_size=..., or a machine with more memory"]
    remedy = ", or ".join(remedies)
    remedy = remedy[0].upper() + remedy[1:]
    if given is not None:
        return UsageError(message, remedy=remedy)
    return ResourceError(message, remedy=remedy)
