"""What runs on a Ray cluster: one rank in a process of its own.

A plain class that the driver turns into an actor. What crosses between the
processes is plain data: the settings, a result, or an error's class name and
text.
"""

from __future__ import annotations

import io
import os
import platform
import sys
import threading
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from crossan.cache_schema.errors import CrossanError, IncompatibleError
from crossan.common.cluster import Failure
from crossan.common.console import disk_full_error
from crossan.train.runs.launch import Launch
from crossan.train.settings import RunSettings

__all__ = ["Meeting", "Order", "Outcome", "RankWorker"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Everything a rank is told when it begins."""

    settings: RunSettings
    out: Path
    launch: Launch
    """Everything but the ranks, which the worker joins."""
    rank_count: int
    threads: int
    folder: Path
    """Where the driver stands: relative paths mean the same to a rank."""
    command: Sequence[str]
    version: str


@dataclass(frozen=True, slots=True)
class Meeting:
    """Where the ranks of one attempt meet, and the first one's token as owner of the run folder."""

    host: str
    port: int
    owner: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a rank ended: with a result, empty but for the first; with a failure; with neither where it was told to end."""

    result: dict[str, Any] | None = None
    failure: Failure | None = None
    has_lost_another: bool = False
    """Whether the failure is another rank's."""


class RankWorker:
    """One rank; its methods are called while `train` runs, each in a thread of its own.

    Parameters
    ----------
    order
        What to train.
    """

    def __init__(self, order: Order) -> None:
        self._order = order
        self._told_to_end = threading.Event()
        self._said = _Lines()
        self._store: Any = None

    def open_meeting(self) -> Meeting | Failure:
        """Listen for the other ranks, on a port that is free: what the first rank does."""
        failure = self._unfit()
        if failure is not None:
            return failure
        import ray
        import torch.distributed as dist

        from crossan.common.owners import our_token
        from crossan.train.ranks.joining import MOST_WAITING

        host = ray.util.get_node_ip_address()
        self._store = dist.TCPStore(  # type: ignore[attr-defined]
            host,
            0,
            self._order.rank_count,
            is_master=True,
            wait_for_workers=False,
            timeout=MOST_WAITING,
        )
        return Meeting(host, self._store.port, our_token())

    def train(self, number: int, meeting: Meeting) -> Outcome:
        """Be rank ``number`` of the training until it is over."""
        failure = self._unfit()
        if failure is not None:
            return Outcome(failure=failure)
        from crossan.train.ranks.ranks import RankLostError

        try:
            with redirect_stderr(self._said), redirect_stdout(self._said):
                return Outcome(result=self._train(number, meeting))
        except SystemExit:
            return Outcome()
        except RankLostError as error:
            return Outcome(failure=Failure.of(error), has_lost_another=True)
        except CrossanError as error:
            return Outcome(failure=self._named(error, number))
        except OSError as error:
            full = disk_full_error(error)
            if full is None:
                raise
            return Outcome(failure=self._named(full, number))

    def said(self) -> list[str]:
        """Return the lines for people since the last call."""
        return self._said.take()

    def stop(self) -> None:
        """Have all ranks finish the step in hand, write a checkpoint and end."""
        self._told_to_end.set()

    def _train(self, number: int, meeting: Meeting) -> dict[str, Any]:
        import torch
        import torch.distributed as dist

        from crossan.train.ranks.joining import MOST_WAITING, process_group
        from crossan.train.runs.training import train_run

        order = self._order
        if order.folder.is_dir():
            os.chdir(order.folder)
        sys.argv = list(order.command)  # what the run folder records
        torch.set_num_threads(order.threads)
        if meeting.host == "127.0.0.1":
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        store = self._store
        if store is None:
            store = dist.TCPStore(  # type: ignore[attr-defined]
                meeting.host, meeting.port, order.rank_count, timeout=MOST_WAITING
            )
        with process_group(store, number, order.rank_count, order.launch.device) as ranks:
            ranks.told_to_end = self._told_to_end
            return train_run(order.settings, order.out, replace(order.launch, ranks=ranks))

    def _unfit(self) -> Failure | None:
        expected, found = self._order.version, version("crossan")
        if found == expected:
            return None
        return Failure.of(
            IncompatibleError(
                f"node {platform.node()}: expected crossan {expected}, as where the training was started, found {found}",
                remedy=f"Install crossan=={expected} on every node.",
            )
        )

    def _named(self, error: CrossanError, number: int) -> Failure:
        """Return the error, with rank and node where it is not the first rank's."""
        failure = Failure.of(error)
        if not number:
            return failure
        return Failure(
            failure.kind,
            f"rank {number}, node {platform.node()}: {failure.message}",
            failure.remedy,
        )


class _Lines(io.TextIOBase):
    """A stream that keeps whole lines until somebody takes them; no terminal."""

    def __init__(self) -> None:
        self._lock, self._text = threading.Lock(), ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        with self._lock:
            self._text += text
        return len(text)

    def take(self) -> list[str]:
        with self._lock:
            whole, _, self._text = self._text.rpartition("\n")
        return whole.split("\n") if whole else []
