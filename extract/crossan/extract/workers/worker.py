"""One worker process, seen from the job: started, given orders, watched, ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy.typing as npt

from crossan.cache_schema.errors import ResourceError
from crossan.cache_schema.modality import ItemStatus, Modality
from crossan.extract.media import MediaFault
from crossan.extract.workers.item import ItemReader, Order, Outcome
from crossan.extract.workers.wire import Closed, receive, send

__all__ = ["Limits", "Lost", "Worker"]

_PROGRAM = "from crossan.extract.workers.process import main; main()"
_START_SECONDS = 120.0

_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one item may cost a worker."""

    seconds: float = 30.0
    """Of computing."""
    wall_seconds: float = 300.0
    """On the clock: ten times as much, as the forward and slow disks make a worker wait."""
    memory_bytes: int = 4 << 30
    """Beyond what the process has before its first item: one clip of 8K video fits."""


class Lost(Exception):  # noqa: N818 - the end of a worker, whoever is to blame
    """A worker died or had to be ended.

    Parameters
    ----------
    fault
        Whether it crashed or went over a limit.
    detail
        In words.
    seconds
        How long it had been at its item.
    """

    def __init__(self, fault: MediaFault, detail: str, seconds: float) -> None:
        super().__init__(detail)
        self.fault, self.seconds = fault, seconds


class Worker:
    """A started process. One thread at a time may use it; any may `kill` it.

    Raises
    ------
    ResourceError
        The process cannot be started.
    """

    def __init__(self, reader: ItemReader, limits: Limits) -> None:
        self._limits = limits
        self._last = time.monotonic()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process lives
        self._connection, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-c", _PROGRAM, str(theirs.fileno()), str(os.getpid())],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=self._errors,
                    start_new_session=True,
                    env={
                        **os.environ,
                        **_ONE_THREAD,
                        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                    },
                )
            except OSError as error:
                raise ResourceError(
                    f"a worker process could not be started: {error.strerror or error}",
                    remedy="Run the same command with a smaller --num-workers: it goes on from here.",
                ) from None
        self._is_ready = False
        self._settings = (reader, limits.seconds, limits.memory_bytes)

    def post(self, order: Order) -> None:
        """Send an order; the answers come in the order of the orders. A dead worker is noticed with its answer."""
        try:
            self._begin()
            wanted = [modality.value for modality in order.wanted]
            send(
                self._connection,
                {"path": str(order.path), "digest": order.digest, "wanted": wanted},
            )
        except OSError:
            return

    def take_answer(self, order: Order) -> tuple[dict[Modality, Outcome], float]:
        """Return what became of ``order`` and the seconds it took.

        Raises
        ------
        Lost
            The process died, or was over its time.
        RuntimeError
            It met a bug.
        ResourceError
            It had no room for what it keeps.
        """
        begun = self._last
        try:
            self._connection.settimeout(self._limits.wall_seconds)
            header, arrays = receive(self._connection)
        except TimeoutError:
            self.kill()
            allowed = self._limits.wall_seconds
            raise Lost(MediaFault.OVER_TIME, f"no answer within {allowed:g} s", allowed) from None
        except (Closed, OSError):
            raise self._loss(time.monotonic() - begun) from None
        self._last = time.monotonic()
        if "no_resource" in header:
            message, remedy = header["no_resource"]
            raise ResourceError(message, remedy=remedy)
        return _outcomes(order, header["outcomes"], arrays), float(header["seconds"])

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()

    def close(self) -> None:
        """End the process and let go of everything."""
        self.kill()
        self._process.wait()
        self._connection.close()
        self._errors.close()

    def _begin(self) -> None:
        """Tell the process what it is for, and wait until it is there."""
        if self._is_ready:
            return
        self._connection.settimeout(_START_SECONDS)
        with Connection(os.dup(self._connection.fileno())) as first:
            first.send(self._settings)
        try:
            receive(self._connection)
        except Closed:
            self._raise_bug(self._process.wait())
            raise
        self._is_ready = True
        self._last = time.monotonic()

    def _loss(self, seconds: float) -> Lost:
        code = self._process.wait()
        if code == -signal.SIGXCPU:
            return Lost(
                MediaFault.OVER_TIME, f"more than {self._limits.seconds:g} s of computing", seconds
            )
        last = (self._said().splitlines() or [""])[-1]
        if last.partition(":")[0].endswith("MemoryError"):  # NumPy has one of its own
            return Lost(
                MediaFault.OVER_MEMORY, f"more than {self._limits.memory_bytes:,} bytes", seconds
            )
        self._raise_bug(code)
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return Lost(MediaFault.CRASHED, f"the decoder ended with {name}", seconds)

    def _raise_bug(self, code: int) -> None:
        if code > 0:
            raise RuntimeError(f"a worker process ended with a bug:\n{self._said()}")

    def _said(self) -> str:
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")


def _outcomes(
    order: Order, told: dict[str, Any], arrays: dict[str, npt.NDArray[Any]]
) -> dict[Modality, Outcome]:
    outcomes = {}
    for modality in order.wanted:
        one = told[modality.value]
        names = one["inputs"]
        inputs = (
            None if names is None else {name: arrays[f"{modality.value}/{name}"] for name in names}
        )
        outcomes[modality] = Outcome(
            inputs, ItemStatus(one["status"]), one["reason"], tuple(one["notes"])
        )
    return outcomes
