"""Settle how many items go through the backbone together."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from crossan.cache_schema.canonical import field_of, parse_object, pretty_bytes
from crossan.cache_schema.errors import ResourceError, StoreIntegrityError
from crossan.cache_schema.modality import Modality
from crossan.common.console import note
from crossan.common.files import create_exclusively, read_regular
from crossan.extract.backbones.canary_inputs import canary_inputs
from crossan.extract.backbones.preparing import ModelInputs
from crossan.extract.job.prepare import Encoder

__all__ = ["BATCH_SIZE_FILE", "find_batch_size", "settle_batch_size", "try_batch_sizes"]

BATCH_SIZE_FILE = "batch_size.json"
"""Holds the batch size that all jobs of a store plan with; it lies beside ``store.json``."""

_DEFAULT = {Modality.TEXT: 16, Modality.IMAGE: 8, Modality.VIDEO: 8, Modality.AUDIO: 4}
"""About the fastest on a CPU, whose caches cannot hold the states of more items.

See docs/benchmarks/extract.md.
"""

_LARGEST = 1_024
_LARGEST_RECORDED = 2**31 - 1
_WORTHWHILE = 1.05
"""Least ratio of speeds that is worth a larger batch, which costs memory and interrupted work."""

_REPEATS = 3
"""Forwards of one trial: of a job one is being launched, one waits, and one is being written."""


@dataclass(frozen=True, slots=True)
class _Trial:
    size: int
    items_per_second: float


def find_batch_size(folder: Path, modality: Modality, requested: int | None) -> int:
    """Return the requested batch size, else the recorded one, else the modality's default.

    Raises
    ------
    StoreIntegrityError
        What is recorded is no batch size.
    """
    return requested or _recorded(folder) or _DEFAULT[modality]


def settle_batch_size(
    folder: Path, encoder: Encoder, requested: int | None, *, is_automatic: bool
) -> int:
    """Return the batch size of a job, and record it where the store has none yet.

    The batch plan follows from it, so every shard and every later run takes the
    recorded one. Of several jobs that begin together the first wins.

    Parameters
    ----------
    folder
        Of the store.
    requested
        ``--batch-size N``. Where it differs from the recorded one, a note says
        that the last digits may differ.
    is_automatic
        Whether to try sizes where none is recorded or requested; an accelerator always does.
    """
    recorded = _recorded(folder)
    if recorded is None:
        if requested:
            chosen, how = requested, "asked for"
        # Asked last, for only a loaded backbone knows its device.
        elif is_automatic or str(encoder.device) != "cpu":
            chosen, how = try_batch_sizes(encoder), "tried"
        else:
            chosen, how = _DEFAULT[encoder.modality], "default"
        content = pretty_bytes({"batch_size": chosen, "how": how})
        create_exclusively(folder / BATCH_SIZE_FILE, content)
        # Read back, for another job may have been first: all must plan the same batches.
        recorded = _recorded(folder)
        assert recorded is not None
    if requested is None or requested == recorded:
        return recorded
    note(
        f"{encoder.modality.value}: --batch-size {requested}, "
        f"while this store was begun with {recorded}: "
        "new rows may differ from those in the last digits"
    )
    return requested


def try_batch_sizes(encoder: Encoder, clock: Callable[[], float] = time.perf_counter) -> int:
    """Return the smallest batch size that is about as fast as any that fits into memory.

    Sizes are doubled from one item on while that pays.

    Raises
    ------
    ResourceError
        Not even one item fits.
    """
    # All sizes are tried with the longest canary input: titles differ in length, and the longest
    # batch has to fit.
    canary = [encoder.prepare(medium) for medium in canary_inputs(encoder)]
    inputs = max(canary, key=lambda made: sum(map(len, made.values())))
    best: _Trial | None = None
    size, flat = 1, 0
    # Two sizes without a gain, not one, because one slow trial may be chance.
    while size <= _LARGEST and flat < 2:
        try:
            trial = _Trial(size, _rate(encoder, [inputs] * size, clock))
        except MemoryError:
            break
        if best is None or trial.items_per_second > best.items_per_second * _WORTHWHILE:
            best, flat = trial, 0
        else:
            flat += 1
        size *= 2
    if best is None:
        raise ResourceError(
            f"{encoder.modality.value}: the device's memory is too small for one item",
            remedy="Free memory or give another --device, then run the same command",
        )
    note(
        f"{encoder.modality.value}: batches of {best.size} "
        f"({best.items_per_second:,.1f} items/s when tried)"
    )
    return best.size


def _rate(encoder: Encoder, batch: list[ModelInputs], clock: Callable[[], float]) -> float:
    """Return the items per second of a few forwards of this batch."""
    # Not timed: the first of a size compiles, allocates and picks kernels.
    encoder.begin(batch)()
    begun = clock()
    # As many at once as a job has under way, whose inputs take the same memory and are copied
    # beside the forwards before.
    under_way = [encoder.begin(batch) for _ in range(_REPEATS)]
    for launched in under_way:
        launched()
    return _REPEATS * len(batch) / max(clock() - begun, 1e-9)


def _recorded(folder: Path) -> int | None:
    path = folder / BATCH_SIZE_FILE
    if not path.exists() and not path.is_symlink():
        return None
    try:
        value = parse_object(read_regular(folder, BATCH_SIZE_FILE), str(path))
        size = field_of(value, "batch_size", int, str(path))
    except StoreIntegrityError:
        size = 0
    if not 1 <= size <= _LARGEST_RECORDED:
        raise StoreIntegrityError(
            f'{path}: expected {{"batch_size": N}} with N at least 1',
            remedy=f"Move {path} aside, then give --batch-size N",
        )
    return size
