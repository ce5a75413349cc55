"""One rank on a Ray cluster, in a process of its own.

`RankWorker` is a plain class that the driver turns into an actor. Only plain data
passes between the processes: the settings, a result, or the class name and text
of an error.
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
from crossan.common.console import resource_error
from crossan.train.runs.launch import Launch
from crossan.train.settings import RunSettings

__all__ = ["Meeting", "RankOutcome", "RankTask", "RankWorker"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RankTask:
    """Everything that a rank needs to train, the same for all ranks of a run."""

    settings: RunSettings
    out: Path
    launch: Launch
    """Everything but the ranks, which the worker joins."""
    rank_count: int
    threads: int
    folder: Path
    """The driver's working folder, so that relative paths mean the same to a rank."""
    command: Sequence[str]
    version: str


@dataclass(frozen=True, slots=True)
class Meeting:
    """The address at which the ranks of one attempt meet."""

    host: str
    port: int
    owner: str
    """Token by which the first rank owns the run folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankOutcome:
    """How a rank ended.

    It has a result, which only the first rank fills, or a failure, or neither
    where it was told to end.
    """

    result: dict[str, Any] | None = None
    failure: Failure | None = None
    has_lost_another: bool = False
    """Whether the failure is that of another rank."""


class RankWorker:
    """One rank.

    While `train` runs, the other methods may be called, each in a thread of its
    own.

    Parameters
    ----------
    task
        What to train.
    """

    def __init__(self, task: RankTask) -> None:
        self._task = task
        self._told_to_end = threading.Event()
        self._said = _LineBuffer()
        self._store: Any = None

    def open_meeting(self) -> Meeting | Failure:
        """Listen for the other ranks on a free port, which only the first rank does."""
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
            self._task.rank_count,
            is_master=True,
            wait_for_workers=False,
            timeout=MOST_WAITING,
        )
        return Meeting(host, self._store.port, our_token())

    def train(self, number: int, meeting: Meeting) -> RankOutcome:
        """Be rank ``number`` of the training until it is over."""
        failure = self._unfit()
        if failure is not None:
            return RankOutcome(failure=failure)
        from crossan.train.ranks.ranks import RankLostError

        # Errors that users can mend come back as data. Anything else leaves as an exception, which
        # Ray hands to the driver with its traceback: it is a bug.
        try:
            with redirect_stderr(self._said), redirect_stdout(self._said):
                return RankOutcome(result=self._train(number, meeting))
        except SystemExit:
            return RankOutcome()
        except RankLostError as error:
            return RankOutcome(failure=Failure.of(error), has_lost_another=True)
        except CrossanError as error:
            return RankOutcome(failure=self._named(error, number))
        except (OSError, MemoryError, RuntimeError) as error:
            ours = resource_error(error)
            if ours is None:
                raise
            return RankOutcome(failure=self._named(ours, number))

    def said(self) -> list[str]:
        """Return the lines printed since the last call."""
        return self._said.take()

    def stop(self) -> None:
        """Make all ranks finish the current step, write a checkpoint and end."""
        # Telling one is enough: the ranks agree before each step on whether to end.
        self._told_to_end.set()

    def _train(self, number: int, meeting: Meeting) -> dict[str, Any]:
        import torch
        import torch.distributed as dist

        from crossan.train.ranks.joining import MOST_WAITING, process_group
        from crossan.train.runs.planning import claim, plan_run
        from crossan.train.runs.training import train

        task = self._task
        if task.folder.is_dir():
            os.chdir(task.folder)
        # The run folder records the user's command, not that of Ray's worker.
        sys.argv = list(task.command)
        torch.set_num_threads(task.threads)
        # gloo takes the interface of the host's name, which on one machine may be another.
        if meeting.host == "127.0.0.1":
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        store = self._store
        if store is None:
            store = dist.TCPStore(  # type: ignore[attr-defined]
                meeting.host, meeting.port, task.rank_count, timeout=MOST_WAITING
            )
        with process_group(store, number, task.rank_count, task.launch.device) as ranks:
            ranks.told_to_end = self._told_to_end
            plan = plan_run(task.settings, task.out, replace(task.launch, ranks=ranks))
            with claim(plan):
                return train(plan)

    def _unfit(self) -> Failure | None:
        """Return why this node cannot take part, or None where it can."""
        expected, installed = self._task.version, version("crossan")
        if installed == expected:
            return None
        return Failure.of(
            IncompatibleError(
                f"node {platform.node()}: expected crossan {expected},"
                f" as where the training was started, found {installed}",
                remedy=f"Install crossan=={expected} on every node",
            )
        )

    def _named(self, error: CrossanError, number: int) -> Failure:
        """Return the error, with rank and node unless it is that of the first rank."""
        failure = Failure.of(error)
        if not number:
            return failure
        return Failure(
            failure.kind,
            f"rank {number}, node {platform.node()}: {failure.message}",
            failure.remedy,
        )


class _LineBuffer(io.TextIOBase):
    """A stream that keeps whole lines until they are taken."""

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
