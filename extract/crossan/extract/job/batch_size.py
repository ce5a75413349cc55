"""How many items go through the backbone together: asked for, recorded with the store, or found by trying."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from crossan.cache_schema.canonical import pretty_bytes
from crossan.cache_schema.errors import ResourceError, StoreIntegrityError
from crossan.cache_schema.modality import Modality
from crossan.common.console import note
from crossan.common.files import create_exclusively
from crossan.extract.backbones.canary_inputs import canary_inputs
from crossan.extract.job.prepare import Encoder

__all__ = ["BATCH_SIZE_FILE", "find_batch_size", "settle_batch_size", "try_batch_sizes"]

BATCH_SIZE_FILE = "batch_size.json"
"""Beside ``store.json``: the batch size that all jobs of this store plan with, unless one is told otherwise."""

_DEFAULT = {Modality.TEXT: 16, Modality.IMAGE: 8, Modality.VIDEO: 8, Modality.AUDIO: 4}
"""About the fastest on a CPU (docs/benchmarks/extract.md): the states of more items leave its caches."""

_LARGEST = 1_024
_WORTHWHILE = 1.05
"""A larger batch must be so many times as fast: it costs memory, and more when it is interrupted."""

_REPEATS = 3


@dataclass(frozen=True, slots=True)
class _Trial:
    size: int
    items_per_second: float


def find_batch_size(folder: Path, modality: Modality, asked: int | None) -> int:
    """Return the batch size asked for, else the one recorded with the store, else the modality's own.

    Raises
    ------
    StoreIntegrityError
        What is recorded is no batch size.
    """
    return asked or _recorded(folder) or _DEFAULT[modality]


def settle_batch_size(
    folder: Path, encoder: Encoder, asked: int | None, *, is_automatic: bool
) -> int:
    """Return the batch size of a job, and record it where the store has none yet.

    The batch plan follows from it, so every shard and every later run takes the
    recorded one; the first of several jobs that begin together wins.

    Parameters
    ----------
    folder
        Of the store.
    asked
        ``--batch-size N``; it differs from the recorded one at the cost of last digits, which is said.
    is_automatic
        Whether to try sizes where none is recorded or asked for.
    """
    recorded = _recorded(folder)
    if recorded is None:
        chosen, how = asked or _DEFAULT[encoder.modality], "asked for" if asked else "default"
        if is_automatic and not asked:
            chosen, how = try_batch_sizes(encoder), "tried"
        content = pretty_bytes({"batch_size": chosen, "how": how})
        create_exclusively(folder / BATCH_SIZE_FILE, content)
        recorded = _recorded(folder)
        assert recorded is not None
    if asked is None or asked == recorded:
        return recorded
    note(
        f"{encoder.modality.value}: --batch-size {asked}, while this store was begun with {recorded}: "
        "new rows may differ from those in the last digits"
    )
    return asked


def try_batch_sizes(encoder: Encoder, clock: Callable[[], float] = time.perf_counter) -> int:
    """Return the smallest batch size that is about as fast as any that fits into the device's memory.

    Doubles from one item while that pays; titles are tried at the longest the
    backbone reads, so that every batch of the plan fits.

    Raises
    ------
    ResourceError
        Not even one item fits.
    """
    inputs = max(
        (encoder.prepare(medium) for medium in canary_inputs(encoder)),
        key=lambda made: sum(map(len, made.values())),
    )
    best: _Trial | None = None
    size, flat = 1, 0
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
            f"{encoder.modality.value}: the device's memory does not suffice for one item",
            remedy="Free memory or give another --device, then run the same command.",
        )
    note(
        f"{encoder.modality.value}: batches of {best.size} ({best.items_per_second:,.1f} items/s when tried)"
    )
    return best.size


def _rate(encoder: Encoder, batch: list[dict], clock: Callable[[], float]) -> float:  # type: ignore[type-arg]
    encoder.begin(batch)()  # the first of a size compiles, allocates and picks kernels
    begun = clock()
    for _ in range(_REPEATS):
        encoder.begin(batch)()
    return _REPEATS * len(batch) / max(clock() - begun, 1e-9)


def _recorded(folder: Path) -> int | None:
    path = folder / BATCH_SIZE_FILE
    try:
        found = json.loads(path.read_bytes())
        size = found["batch_size"]
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError):
        size = None
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise StoreIntegrityError(
            f'{path}: expected {{"batch_size": N}} with N at least 1',
            remedy=f"rm {path}, then give --batch-size N",
        )
    return size
