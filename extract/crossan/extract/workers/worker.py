"""One worker process, as the job sees it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy.typing as npt

from crossan.cache_schema.errors import ResourceError
from crossan.cache_schema.modality import ItemStatus, Modality
from crossan.extract.media.faults import MediaFault
from crossan.extract.workers.item import DecodeOrder, ItemReader, MediumOutcome
from crossan.extract.workers.wire import Closed, receive, send

__all__ = ["Limits", "LostWorker", "Worker"]

_PROGRAM = "from crossan.extract.workers.process import main; main()"
_START_SECONDS = 120.0

# There is a worker for each core already: more threads would only get in each other's way.
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one item may cost a worker."""

    seconds: float = 30.0
    """Computing time."""
    wall_seconds: float = 300.0
    """Time on the clock, ten times as much, for the forward and slow disks make a worker wait."""
    memory_bytes: int = 4 << 30
    """Beyond what the process has before its first item; one clip of 8K video fits."""


class LostWorker(Exception):  # noqa: N818 - whoever is to blame
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
    """A started process.

    One thread at a time may use it, and any may `kill` it.

    Raises
    ------
    ResourceError
        The process cannot be started.
    """

    def __init__(self, reader: ItemReader, limits: Limits) -> None:
        self._limits = limits
        self._last = time.monotonic()
        # In memory, as a machine may have no folder for temporary files that can be written.
        self._errors = os.fdopen(os.memfd_create("errors"), "w+b")
        self._connection, theirs = socket.socketpair()
        # The worker imports what this process imports, from wherever that was found.
        search_path = os.pathsep.join(filter(None, sys.path))
        with theirs:
            # Not multiprocessing: a spawned child would import the program's main module, torch
            # and all, and a forked one would inherit threads, locks and the device's state.
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-c", _PROGRAM, str(theirs.fileno()), str(os.getpid())],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=self._errors,
                    # Ctrl-C goes to the whole process group, and is the job's alone to answer.
                    start_new_session=True,
                    env={**os.environ, **_ONE_THREAD, "PYTHONPATH": search_path},
                )
            except OSError as error:
                raise ResourceError(
                    f"a worker process could not be started: {error.strerror or error}",
                    remedy="Run the same command with a smaller --num-workers: "
                    "it continues from here",
                ) from None
        self._is_ready = False
        self._settings = (reader, limits.seconds, limits.memory_bytes)

    def post(self, order: DecodeOrder) -> None:
        """Send an order, whose answer comes after those of the orders before."""
        header = {
            "path": str(order.path),
            "digest": order.digest,
            "modalities": [modality.value for modality in order.modalities],
        }
        # A worker that has died is noticed when its answer is missing, which tells why it died.
        try:
            self._begin()
            send(self._connection, header)
        except OSError:
            return

    def take_answer(self, order: DecodeOrder) -> tuple[dict[Modality, MediumOutcome], float]:
        """Return what became of ``order`` and the seconds it took.

        Raises
        ------
        LostWorker
            The process died, or was over its time.
        RuntimeError
            It met a bug.
        ResourceError
            The disk has no room for the clips that it keeps.
        """
        begun = self._last
        try:
            self._connection.settimeout(self._limits.wall_seconds)
            header, arrays = receive(self._connection)
        except TimeoutError:
            self.kill()
            allowed = self._limits.wall_seconds
            raise LostWorker(
                MediaFault.OVER_TIME, f"no answer within {allowed:g} s", allowed
            ) from None
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
        """End the process and release what belongs to it."""
        self.kill()
        self._process.wait()
        self._connection.close()
        self._errors.close()

    def _begin(self) -> None:
        """Send the process its reader and its limits, and wait until it is ready."""
        if self._is_ready:
            return
        self._connection.settimeout(_START_SECONDS)
        # The one pickle on this socket goes from the job to the worker, never back.
        with Connection(os.dup(self._connection.fileno())) as first:
            first.send(self._settings)
        try:
            receive(self._connection)
        except Closed:
            # A reader that cannot be imported, say: a bug, which no repetition mends.
            self._raise_bug(self._process.wait())
            raise
        self._is_ready = True
        self._last = time.monotonic()

    def _loss(self, seconds: float) -> LostWorker:
        """Tell what ended the process, by its exit status and its last words."""
        code = self._process.wait()
        if code == -signal.SIGXCPU:
            detail = f"more than {self._limits.seconds:g} s of computing"
            return LostWorker(MediaFault.OVER_TIME, detail, seconds)
        last_line = (self._error_text().splitlines() or [""])[-1]
        # By the end of the name, as NumPy has a MemoryError of its own.
        if last_line.partition(":")[0].endswith("MemoryError"):
            detail = f"more than {self._limits.memory_bytes:,} bytes"
            return LostWorker(MediaFault.OVER_MEMORY, detail, seconds)
        self._raise_bug(code)
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return LostWorker(MediaFault.CRASHED, f"the decoder ended with {name}", seconds)

    def _raise_bug(self, code: int) -> None:
        # A decoder that crashes dies of a signal; an exit code is Python's, after a traceback.
        if code > 0:
            raise RuntimeError(f"a worker process ended with a bug:\n{self._error_text()}")

    def _error_text(self) -> str:
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")


def _outcomes(
    order: DecodeOrder, answers: dict[str, Any], arrays: dict[str, npt.NDArray[Any]]
) -> dict[Modality, MediumOutcome]:
    outcomes = {}
    for modality in order.modalities:
        answer = answers[modality.value]
        inputs = None
        if answer["inputs"] is not None:
            inputs = {name: arrays[f"{modality.value}/{name}"] for name in answer["inputs"]}
        outcomes[modality] = MediumOutcome(
            inputs, ItemStatus(answer["status"]), answer["reason"], tuple(answer["notes"])
        )
    return outcomes
