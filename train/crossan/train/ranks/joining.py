"""How a process becomes a rank: by the environment that torchrun, or a Slurm script, gives it."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from crossan.cache_schema.errors import CrossanError, UsageError

__all__ = ["MOST_WAITING", "Joined", "joined", "process_group", "silent_unless_first"]

MOST_WAITING = timedelta(minutes=30)
"""How long a rank waits for one that lives and does not answer; one that is dead is noticed at once."""
_SECONDS_TO_END = 5.0
"""How long a rank that ends waits for the others to print and write their last."""
_SECONDS_BETWEEN_LOOKS = 0.05
_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True, slots=True)
class Joined:
    """A process's place among the ranks, and where it computes."""

    ranks: Any
    """`Ranks`; named without its type, so that a run of one process learns of it without torch."""
    device: str


@contextmanager
def silent_unless_first() -> Iterator[None]:
    """Let every rank but the first print nothing inside; what leaves the block as a traceback is printed.

    A rank that ends with a usage error waits for the first one to name it: a
    launcher ends the others as soon as one has ended.
    """
    if _count() == 1 or os.environ.get("RANK") == "0":
        yield
        return
    try:
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):  # noqa: PTH123
            yield
    except SystemExit as stop:
        if stop.code == UsageError.exit_code:
            time.sleep(_SECONDS_TO_END)
        raise


@contextmanager
def joined(device: str) -> Iterator[Joined]:
    """Yield this process's place among the ranks that the environment tells of; alone where it tells of none.

    An error that several ranks meet is printed by one of them, and every rank
    ends with its exit code.

    Parameters
    ----------
    device
        As the user named it. A rank takes the accelerator of its number on its
        machine, and speaks NCCL there, gloo on a CPU.

    Raises
    ------
    UsageError
        The environment is half of what a rank needs, or the device cannot be shared.
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
            f"WORLD_SIZE={os.environ['WORLD_SIZE']}: expected {', '.join(lacking)} beside it, found none",
            remedy="Start ranks by torchrun, or unset WORLD_SIZE to train by this process alone",
        )
    store, number, count = _meet()
    with silent_unless_first(), _ending_together(store, number, count):
        own = _device_of(device, int(os.environ.get("LOCAL_RANK", "0")))
        with process_group(store, number, count, own) as ranks:
            yield Joined(ranks, own)


@contextmanager
def process_group(store: Any, number: int, count: int, device: str) -> Iterator[Any]:  # noqa: ANN401 - torch.distributed's types
    """Yield the `Ranks` of a new process group that meets at a torch store.

    An error leaves the group as it is: to take it down politely would wait for
    the others, and the process ends anyway.
    """
    import torch
    import torch.distributed as dist

    # Its functions take the group that is there when it is imported as a default. Imported later, by an optimiser,
    # they would keep this group and its threads alive beyond their end, and those abort the interpreter that ends.
    import torch.distributed.nn.functional

    from crossan.train.ranks.ranks import Ranks

    backend = "gloo"
    if device.startswith("cuda"):
        torch.cuda.set_device(device)
        backend = "cpu:gloo,cuda:nccl"  # what ranks agree on lies on the CPU, so that no device is waited for
    dist.init_process_group(
        backend, store=store, rank=number, world_size=count, timeout=MOST_WAITING
    )
    yield Ranks(number, count)
    dist.destroy_process_group()


def _meet() -> tuple[Any, int, int]:
    """Return the store at which the environment has the ranks meet, this one's number and how many there are."""
    from torch.distributed.rendezvous import rendezvous

    from crossan.train.ranks.ranks import RankLostError

    where = f"MASTER_ADDR:MASTER_PORT, {os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    try:
        store, number, count = next(rendezvous("env://", timeout=MOST_WAITING))
    except RuntimeError as error:  # torch's own errors of the network and of the store are such
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise RankLostError(
            f"rank {os.environ['RANK']} cannot meet the others at {where}: {first}",
            remedy=f"Start all {os.environ['WORLD_SIZE']} ranks with one MASTER_ADDR, the machine of rank 0, and one"
            " MASTER_PORT that is free there",
        ) from error
    except ValueError as error:
        raise UsageError(
            f"RANK={os.environ['RANK']}, {where}: expected the number of a rank and that of a port, found {error}"
        ) from None
    return store, number, count


def _count() -> int:
    text = os.environ.get("WORLD_SIZE") or "1"
    return int(text) if text.isdecimal() else 1


def _device_of(device: str, local: int) -> str:
    import torch

    there = torch.cuda.device_count()
    if device == "cpu" or (device == "auto" and not there):
        return "cpu"
    if device not in {"auto", "cuda"}:
        raise UsageError(
            f"--device {device}: expected auto, cpu or cuda where there are several ranks",
            remedy="Name the devices for all ranks: CUDA_VISIBLE_DEVICES",
        )
    if local >= there:
        raise UsageError(
            f"LOCAL_RANK={local}: expected a device for each rank of this machine, found {there}",
            remedy=f"torchrun --nproc-per-node {max(there, 1)}, or --device cpu",
        )
    return f"cuda:{local}"


@contextmanager
def _ending_together(store: Any, number: int, count: int) -> Iterator[None]:  # noqa: ANN401 - one of torch's stores
    """Let one rank print the error that all have met, and no rank end before all have done their last.

    A launcher ends the others as soon as one has ended, whatever they are writing.
    """
    try:
        yield
    except CrossanError as error:
        said = _key(error)
        is_news = True  # where the store's host is gone, and nobody knows who has said what
        with suppress(RuntimeError):
            is_news = store.add(f"{said}/first", 1) == 1
        if is_news:
            who = f"rank {number}: " if number else ""
            print(f"{who}{type(error).__name__}: {error}", file=sys.__stderr__, flush=True)
        _await_others(store, said, count)
        raise SystemExit(error.exit_code) from None
    except (KeyboardInterrupt, SystemExit):
        _await_others(store, "told", count)
        raise


def _await_others(store: Any, what: str, count: int) -> None:  # noqa: ANN401 - one of torch's stores
    """Wait until all ranks have come here, but not for long: some may never."""
    deadline = time.monotonic() + _SECONDS_TO_END
    with suppress(RuntimeError):
        come = store.add(what, 1)
        while come < count and time.monotonic() < deadline:
            time.sleep(_SECONDS_BETWEEN_LOOKS)
            come = store.add(what, 0)


def _key(error: CrossanError) -> str:
    from crossan.train.ranks.ranks import RankLostError

    # Whom a rank has lost, each says in its own words.
    said = type(error).__name__ + ("" if isinstance(error, RankLostError) else f": {error}")
    return f"said/{hashlib.sha256(said.encode()).hexdigest()}"
