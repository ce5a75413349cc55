"""Copying rows out of mapped chunks, with all cores."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from crossan.common.heartbeat import beat
from crossan.common.stores.checksums import crc32c

__all__ = ["on_all_cores", "read_and_sum", "take_rows"]

_SHARE_BYTES = 2 * 2**20
"""Copied by one thread in one go; below this a second thread costs more than it saves."""
_BLOCK_BYTES = 2 * 2**20
"""Copied and summed in one go, while it is in the processor's cache."""


@cache
def core_count() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(core_count(), thread_name_prefix="crossan-rows")


os.register_at_fork(after_in_child=_pool.cache_clear)  # the threads stay with the parent


def on_all_cores(work: Callable[[Any], object], tasks: Sequence[Any]) -> None:
    """Call ``work`` for each task, on every core at once.

    Each thread takes the next task when it has done one, the caller too: one
    that starts late, or gets no core at all, holds nobody up. Of several errors
    that of the earliest task is raised.
    """
    remaining = enumerate(tasks)
    errors: list[tuple[int, Exception]] = []

    def drain() -> None:
        # One iterator for all threads: `next` of it is atomic, so no task is done twice.
        for number, task in remaining:
            try:
                work(task)
            except Exception as error:  # noqa: BLE001 - raised below
                errors.append((number, error))
            if errors:
                return
            beat()

    others = [_pool().submit(drain) for _ in range(min(core_count(), len(tasks)) - 1)]
    try:
        drain()
    finally:
        # Not for one that was cancelled: the pool marks it as done when a thread comes free.
        wait([other for other in others if not other.cancel()])
    if errors:
        raise min(errors, key=lambda numbered: numbered[0])[1]


def take_rows(source: npt.NDArray[Any], places: npt.NDArray[Any], out: npt.NDArray[Any]) -> None:
    """Copy rows by number.

    ``out[i] = source[places[i]]``.

    Parameters
    ----------
    source
        ``(row, ...)``, C-contiguous.
    places
        ``(n,)`` up to the last row, not checked; below 0 stands for 0.
    out
        ``(n, ...)``, C-contiguous, of the same row shape and dtype.
    """
    row_size = math.prod(source.shape[1:])
    row_bytes = row_size * source.itemsize
    flat = source.reshape(len(source), row_size).view(np.uint8)
    target = out.reshape(len(out), row_size).view(np.uint8)
    share_count = max(1, len(places) * row_bytes // _SHARE_BYTES)

    def copy(share: int) -> None:
        start, stop = len(places) * share // share_count, len(places) * (share + 1) // share_count
        # "clip" writes into out directly; "raise" would go through a buffer of its own.
        np.take(flat, places[start:stop], axis=0, out=target[start:stop], mode="clip")

    on_all_cores(copy, range(share_count))


def read_and_sum(descriptor: int, byte_count: int, out: npt.NDArray[Any] | None = None) -> int:
    """Return the CRC32C of the first bytes of a file, reading them once.

    Parameters
    ----------
    descriptor
        Of the file.
    byte_count
        How many bytes to read; a shorter file gives the sum of what is there.
    out
        C-contiguous array that takes the first of the bytes, as many as it has room for.
    """
    target = np.empty(0, np.uint8) if out is None else out.reshape(-1).view(np.uint8)
    scratch = np.empty(min(_BLOCK_BYTES, byte_count), np.uint8)
    crc = offset = 0
    while offset < byte_count:
        block = target[offset : min(offset + _BLOCK_BYTES, byte_count)]
        if not len(block):
            block = scratch[: byte_count - offset]
        count = os.preadv(descriptor, [block.data], offset)
        if count == 0:
            break
        crc = crc32c(block[:count].data, crc)
        offset += count
    return crc
