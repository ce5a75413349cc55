"""One process of the recommender, and the connections to it."""

from __future__ import annotations

import os
import queue
import secrets
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from crossan.common.refusals import blaming
from crossan.train.service.recommender.wire import WireError, receive, send

__all__ = ["PROGRAM", "RecommenderProcess", "remove_left_behind"]

PROGRAM = (sys.executable, "-P", "-m", "crossan.train.service.recommender")
"""What answers; it takes a socket, a run folder and ``--version N``."""

_ENDING_SECONDS = 5.0
_TOLD = 4000
"""Bytes at the end of its log of which the last lines are told."""


class RecommenderProcess:
    """A process that answers from one version.

    Parameters
    ----------
    sockets
        Folder for its socket and its log.
    run
        The run folder that it opens.
    version
        What every answer of it names.
    program
        The program with its first arguments.

    Raises
    ------
    ResourceError
        The system refuses to start it.
    """

    def __init__(
        self,
        sockets: Path,
        run: Path,
        version: int,
        program: Sequence[str] = PROGRAM,
    ) -> None:
        self.version = version
        name = f"{version}-{secrets.token_hex(4)}"
        self._folder, self._socket = sockets, f"{name}.sock"
        self._log = sockets / f"{name}.log"
        self._idle: queue.LifoQueue[socket.socket] = queue.LifoQueue()
        self._lock = threading.Lock()
        self._in_flight = 0
        self._has_ended = False
        # Several threads wait for the slowest of them at each step: beside a training that has the
        # other cores, two take ten times as long as one.
        environment = {"OMP_NUM_THREADS": "1"}
        with blaming(self._log), self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*program, sockets / self._socket, run, "--version", str(version)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **environment},
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    @property
    def is_idle(self) -> bool:
        """Whether it is asked nothing right now."""
        return self._in_flight == 0

    def is_ready(self) -> bool:
        """Return whether it has opened its run and answers."""
        try:
            return bool(self.ask({"about": True}, 5.0)["version"] == self.version)
        except (WireError, TimeoutError):
            return False

    def hold(self) -> None:
        """Say that it is about to be asked, so that it is not ended before it has answered."""
        with self._lock:
            self._in_flight += 1

    def let_go(self) -> None:
        """Say that it has answered."""
        with self._lock:
            self._in_flight -= 1

    def ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Return the answer to a request.

        Raises
        ------
        WireError
            The process is gone, or not ready.
        TimeoutError
            It did not answer in time.
        """
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            connection = self._connected()
        is_whole = False
        try:
            connection.settimeout(seconds)
            send(connection, request)
            answer = receive(connection)
            if answer is None:
                raise WireError("the recommender has ended")
            is_whole = True
        finally:
            # One that broke within a message would give the next request this one's answer.
            if is_whole:
                self._keep(connection)
            else:
                connection.close()
        return answer

    def _keep(self, connection: socket.socket) -> None:
        """Keep a connection for the next request, unless `end` has closed those that were kept."""
        with self._lock:
            if not self._has_ended:
                self._idle.put(connection)
                return
        connection.close()

    def last_words(self) -> str:
        """Return the end of its log, which says why it ended."""
        try:
            with self._log.open("rb") as log:
                log.seek(max(0, self._log.stat().st_size - _TOLD))
                lines = log.read().decode(errors="replace").strip().splitlines()
        except OSError:
            return ""
        return "\n".join(lines[-2:])

    def end(self, *, at_once: bool = False) -> None:
        """End it, by force where it does not within some seconds."""
        if not at_once:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_ENDING_SECONDS)
        self._process.kill()
        self._process.wait()
        with self._lock:
            self._has_ended = True
        with suppress(queue.Empty):
            while True:
                self._idle.get_nowait().close()
        for path in (self._folder / self._socket, self._log):
            path.unlink(missing_ok=True)

    def _connected(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # By its folder's descriptor: a path of a Unix socket has 107 bytes at most.
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            connection.connect(f"/proc/self/fd/{folder}/{self._socket}")
        except OSError as error:
            connection.close()
            raise WireError(f"the recommender does not answer: {error}") from error
        finally:
            os.close(folder)
        return connection


def remove_left_behind(sockets: Path) -> None:
    """Remove sockets and logs of the processes of a server that was killed."""
    for pattern in ("*.sock", "*.log"):
        for path in sockets.glob(pattern):
            path.unlink(missing_ok=True)
