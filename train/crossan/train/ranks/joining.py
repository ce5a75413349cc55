"""How a process becomes a rank, by the environment that torchrun or a Slurm script gives it."""

from __future__ import annotations

import gc
import hashlib
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from crossan.cache_schema.errors import CrossanError, UsageError
from crossan.common.console import printable_lines

__all__ = ["MOST_WAITING", "Joined", "joined", "process_group", "silent_unless_first"]

MOST_WAITING = timedelta(minutes=30)
"""How long a rank waits for another that does not answer.

One whose process has ended is noticed at once.
"""
_SECONDS_TO_END = 5.0
"""How long a rank that ends waits for the others to finish printing and writing."""
_SECONDS_BETWEEN_LOOKS = 0.05
_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True, slots=True)
class Joined:
    """The ranks as this process sees them, and the device that it computes on."""

    ranks: Any
    """A `Ranks`. Its type is not named, so that importing this module does not load torch."""
    device: str


@contextmanager
def silent_unless_first() -> Iterator[None]:
    """Keep every rank but the first from printing inside the block.

    A traceback that leaves the block is still printed.
    """
    if _count() == 1 or os.environ.get("RANK") == "0":
        yield
        return
    try:
        with Path(os.devnull).open("w") as null, redirect_stdout(null), redirect_stderr(null):
            yield
    except SystemExit as stop:
        # A launcher ends all ranks as soon as one has ended: the first one must have printed the
        # usage error, which all of them meet, before this one leaves.
        if stop.code == UsageError.exit_code:
            time.sleep(_SECONDS_TO_END)
        raise


@contextmanager
def joined(device: str) -> Iterator[Joined]:
    """Yield this process as one of the ranks that the environment describes.

    Where it describes none, the process is alone. An error that several ranks
    meet is printed by one of them, and every rank ends with its exit code.

    Parameters
    ----------
    device
        The device as the user named it. A rank takes the accelerator of its
        number on its machine, and uses NCCL there and gloo on a CPU.

    Raises
    ------
    UsageError
        The environment lacks some of what a rank needs, or the device cannot be
        shared.
    RankLostError
        The ranks cannot meet.
    """
    if _count() == 1:
        from crossan.train.ranks.ranks import ALONE

        yield Joined(ALONE, device)
        return
    lacking = [name for name in _VARIABLES if not os.environ.get(name)]
    if lacking:
        raise UsageError(
            f"WORLD_SIZE={os.environ['WORLD_SIZE']}: expected {', '.join(lacking)} as well,"
            " found none",
            remedy="Start ranks by torchrun, or unset WORLD_SIZE to train by this process alone",
        )
    store, number, count = _meet()
    with silent_unless_first(), _ending_together(store, number, count):
        device_of_rank = _device_of(device, int(os.environ.get("LOCAL_RANK", "0")))
        with process_group(store, number, count, device_of_rank) as ranks:
            yield Joined(ranks, device_of_rank)


@contextmanager
def process_group(
    store: Any,  # noqa: ANN401 - one of torch's stores
    number: int,
    count: int,
    device: str,
) -> Iterator[Any]:
    """Yield the `Ranks` of a new process group that meets at a torch store."""
    import torch
    import torch.distributed as dist

    # The functions of this module take the group that exists when it is imported as a default.
    # Imported later, by an optimiser, they would keep this group and its threads alive beyond its
    # end, and such threads abort the interpreter when it exits.
    import torch.distributed.nn.functional

    from crossan.train.ranks.ranks import Ranks

    backend = "gloo"
    if device.startswith("cuda"):
        torch.cuda.set_device(device)
        # gloo as well: what ranks agree on is on the CPU, so that no device is waited for.
        backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(
        backend, store=store, rank=number, world_size=count, timeout=MOST_WAITING
    )
    yield Ranks(number, count)
    # Recorded steps hold NCCL's communicators, whose end waits until no recording is left.
    gc.collect()
    # Not in a `finally`: after an error, taking the group down would wait for the others, and the
    # process ends anyway.
    dist.destroy_process_group()


def _meet() -> tuple[Any, int, int]:
    """Return the store at which the ranks meet, this rank's number, and how many there are."""
    from torch.distributed.rendezvous import rendezvous

    from crossan.train.ranks.ranks import RankLostError

    address = f"MASTER_ADDR:MASTER_PORT, {os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    try:
        store, number, count = next(rendezvous("env://", timeout=MOST_WAITING))
    except RuntimeError as error:
        # torch's errors of the network and of the store are plain RuntimeErrors.
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise RankLostError(
            f"rank {os.environ['RANK']} cannot meet the others at {address}: {first_line}",
            remedy=f"Start all {os.environ['WORLD_SIZE']} ranks with one MASTER_ADDR,"
            " the machine of rank 0, and one MASTER_PORT that is free there",
        ) from error
    except ValueError as error:
        raise UsageError(
            f"RANK={os.environ['RANK']}, {address}:"
            f" expected the number of a rank and that of a port, found {error}"
        ) from None
    return store, number, count


def _count() -> int:
    text = os.environ.get("WORLD_SIZE") or "1"
    return int(text) if text.isdecimal() else 1


def _device_of(device: str, local: int) -> str:
    """Return the device of the rank with this number on its machine."""
    import torch

    device_count = torch.cuda.device_count()
    if device == "cpu" or (device == "auto" and not device_count):
        return "cpu"
    if device not in {"auto", "cuda"}:
        raise UsageError(
            f"--device {device}: expected auto, cpu or cuda where there are several ranks",
            remedy="Name the devices for all ranks: CUDA_VISIBLE_DEVICES",
        )
    if local >= device_count:
        raise UsageError(
            f"LOCAL_RANK={local}: expected a device for each rank of this machine,"
            f" found {device_count}",
            remedy=f"torchrun --nproc-per-node {max(device_count, 1)}, or --device cpu",
        )
    return f"cuda:{local}"


@contextmanager
def _ending_together(
    store: Any,  # noqa: ANN401 - one of torch's stores
    number: int,
    count: int,
) -> Iterator[None]:
    """Let one rank print an error that all have met, and let no rank end before the others can.

    A launcher ends the others as soon as one has ended, whatever they are writing.
    """
    try:
        yield
    except CrossanError as error:
        key = _key(error)
        # Printed twice rather than never: where the host of the store is gone, nobody knows whether
        # another rank has printed it.
        is_first_to_print = True
        with suppress(RuntimeError):
            is_first_to_print = store.add(f"{key}/first", 1) == 1
        if is_first_to_print:
            who = f"rank {number}: " if number else ""
            line = printable_lines(f"{who}{type(error).__name__}: {error}")
            print(line, file=sys.__stderr__, flush=True)
        _await_others(store, key, count)
        raise SystemExit(error.exit_code) from None
    except (KeyboardInterrupt, SystemExit):
        _await_others(store, "told", count)
        raise


def _await_others(store: Any, key: str, count: int) -> None:  # noqa: ANN401 - one of torch's stores
    """Wait until all ranks have come here, but not for long, because some may never come."""
    deadline = time.monotonic() + _SECONDS_TO_END
    with suppress(RuntimeError):
        arrived = store.add(key, 1)
        while arrived < count and time.monotonic() < deadline:
            time.sleep(_SECONDS_BETWEEN_LOOKS)
            # Adding nothing reads the count, as a number.
            arrived = store.add(key, 0)


def _key(error: CrossanError) -> str:
    """Return a key of the store that is the same for the same error of two ranks."""
    from crossan.train.ranks.ranks import RankLostError

    # Each rank describes the loss of another in its own words, so only the class counts there.
    text = type(error).__name__ + ("" if isinstance(error, RankLostError) else f": {error}")
    return f"said/{hashlib.sha256(text.encode()).hexdigest()}"
