"""Attempts as processes of this machine, each under a shim that outlives the server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from crossan.cache_schema.errors import ResourceError
from crossan.common.files import blaming, replace_unsynced
from crossan.train.service.executors.attempt_files import error_lines, write_once
from crossan.train.service.executors.executor import Attempt, Job, Outcome, Sighting
from crossan.train.service.executors.marked import MARKER, kill_marked
from crossan.train.service.executors.process_tree import read_stat

__all__ = ["LocalExecutor", "read_outcome"]

_SHIM = Path(__file__).with_name("shim.py")
_HEARTBEAT = "CROSSAN_HEARTBEAT"
"""Names the file that a program touches while it works."""
_GRACE_SECONDS = 10.0
"""Between SIGTERM to a program and SIGKILL to all that is left of it."""
_PATIENCE_SECONDS = 13.0
"""After which a shim that was asked to stop, and has not, is killed with everything else."""


class LocalExecutor:
    """Runs attempts on this machine.

    Between the server and each program stands a shim (``shim.py``), in a session of its own. It
    goes on when the server ends, and a later server finds it by the files in the attempt's folder.
    """

    name = "local"

    def __init__(self) -> None:
        self._stopping_since: dict[str, float] = {}
        """When each was first told to stop, by marker, on the clock that nobody sets."""

    def start(self, attempt: Attempt, job: Job) -> str:
        """Start an attempt and return a handle of its shim.

        Raises
        ------
        ResourceError
            The system refuses a process or a file; nothing of the attempt lives then.
        """
        with blaming(attempt.folder):
            attempt.folder.mkdir(parents=True, exist_ok=True)
        replace_unsynced(attempt.folder / "job.json", json.dumps(_as_json(job)).encode())
        command = [sys.executable, "-I", "-S", str(_SHIM), str(attempt.folder)]
        identity, complaint = _start(command, _environment(attempt, job))
        if not identity:
            # Killed right after it took the attempt: a look finds that it is dead.
            identity = json.dumps(_read_json(attempt.folder / "shim.json") or {}).encode()
        if identity == b"{}":
            raise ResourceError(
                f"{attempt.folder}: no shim could be started:"
                f" {error_lines(complaint) or 'it was killed'}",
                remedy="Free memory, processes or space on the disk; the service tries again",
            )
        return identity.decode()

    def look(self, attempt: Attempt, handle: str | None) -> Sighting:
        """Return how an attempt is, and end it where its shim is dead."""
        # The outcome is the last that a shim writes, so it is read once the shim has ended.
        if self._is_alive(attempt, handle):
            return Sighting(is_alive=True)
        outcome = read_outcome(attempt.folder)
        if outcome is None:
            # A shim that has not yet taken its attempt never may: only one may write this file.
            attempt.folder.mkdir(parents=True, exist_ok=True)
            write_once(str(attempt.folder / "shim.json"), json.dumps({"pid": 0}))
            identity = _read_json(attempt.folder / "shim.json")
            if _is_running(identity):
                return Sighting(is_alive=True)
            if not kill_marked(attempt.marker):
                return Sighting(is_alive=True)
            outcome = self._give_up(attempt, has_begun=identity.get("pid") != 0)
        self._stopping_since.pop(attempt.marker, None)
        return Sighting(is_alive=False, outcome=outcome)

    def stop(self, attempt: Attempt, handle: str | None) -> None:
        """Ask an attempt to end, all its processes with it."""
        self._stopping_since.setdefault(attempt.marker, time.monotonic())
        with suppress(OSError):  # a full disk; the signal does the same
            (attempt.folder / "stop").touch()
        _signal(_identity(attempt, handle), signal.SIGTERM)

    def _is_alive(self, attempt: Attempt, handle: str | None) -> bool:
        identity = _identity(attempt, handle)
        if not _is_running(identity):
            return False
        since = self._stopping_since.get(attempt.marker)
        if since is not None and time.monotonic() - since > _PATIENCE_SECONDS:
            _signal(identity, signal.SIGKILL)
        return True

    def _give_up(self, attempt: Attempt, *, has_begun: bool) -> Outcome:
        """Write the outcome that the shim can write no more."""
        is_cancelled = attempt.marker in self._stopping_since or (attempt.folder / "stop").exists()
        outcome = Outcome(
            reason="cancelled" if is_cancelled else "lost",
            message=error_lines(_tail(attempt.folder / "output.log")),
            has_begun=has_begun,
        )
        write_once(str(attempt.folder / "outcome.json"), json.dumps(asdict(outcome)))
        return outcome


def _start(command: list[str], environment: Mapping[str, str]) -> tuple[bytes, bytes]:
    """Return what a shim tells of itself, or what it says where it cannot begin."""
    try:
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        ) as starter:
            # The pipes close once the shim has taken the attempt, or has ended without it.
            return starter.communicate()
    except OSError as error:
        return b"", str(error).encode()


def _as_json(job: Job) -> dict[str, Any]:
    return {
        "argv": list(job.argv),
        "memory_bytes": job.memory_bytes,
        "seconds": job.seconds,
        "silent_seconds": job.silent_seconds,
        "grace_seconds": _GRACE_SECONDS,
    }


def _environment(attempt: Attempt, job: Job) -> dict[str, str]:
    programs = str(Path(sys.executable).parent)
    # A variable of ours that the operator's shell has would set what the spec does not say.
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith("CROSSAN_")
    }
    return {
        **inherited,
        # A service manager starts the server with a PATH that lacks our commands.
        "PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "OMP_NUM_THREADS": str(job.cpus),
        "CUDA_VISIBLE_DEVICES": _visible(job.devices, os.environ.get("CUDA_VISIBLE_DEVICES")),
        **job.environment,
        _HEARTBEAT: str(attempt.folder / "heartbeat"),
        MARKER: attempt.marker,
    }


def _visible(devices: tuple[int, ...], ours: str | None) -> str:
    """Return the devices by the names that the driver knows, where the server may use some only."""
    names = None if ours is None else ours.split(",")
    return ",".join(str(device) if names is None else names[device] for device in devices)


def _identity(attempt: Attempt, handle: str | None) -> Mapping[str, Any]:
    if handle:
        return dict(json.loads(handle))
    return _read_json(attempt.folder / "shim.json")


def _is_running(identity: Mapping[str, Any]) -> bool:
    """Return whether the shim of this process id, start time and boot lives."""
    if not identity.get("pid"):
        return False
    fields = read_stat(identity["pid"])
    return bool(fields) and int(fields[19]) == identity["start"] and _boot() == identity["boot"]


def _signal(identity: Mapping[str, Any], number: signal.Signals) -> None:
    """Send a signal to a shim, and never to a stranger that has its number by now."""
    with suppress(OSError):
        if not identity.get("pid"):
            return
        descriptor = os.pidfd_open(identity["pid"])
        try:
            if _is_running(identity):
                signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def read_outcome(folder: Path) -> Outcome | None:
    """Return what an attempt's ``outcome.json`` says, None while there is none."""
    values = _read_json(folder / "outcome.json")
    try:
        return Outcome(**values) if values else None
    except TypeError:
        return None


def _read_json(path: Path) -> Mapping[str, Any]:
    """Return what a file of the shim holds, nothing where there is none or a damaged one."""
    try:
        return dict(json.loads(path.read_bytes()))
    except (FileNotFoundError, ValueError, TypeError):
        return {}


def _tail(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(-min(path.stat().st_size, 2**14), os.SEEK_END)
            return file.read()
    except OSError:
        return b""
