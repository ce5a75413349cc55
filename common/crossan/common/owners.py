"""Which process owns a file or folder, and whether it still works."""

from __future__ import annotations

import os
import time
from functools import cache
from pathlib import Path

from crossan.cache_schema.canonical import sha256_hex

__all__ = ["has_ended", "our_token"]

ABANDONED_AFTER_SECONDS = 86_400.0
"""Age untouched at which what another host's process holds is taken over; a live one touches it every few minutes."""


def our_token() -> str:
    """Return this process as an owner: host, boot, process namespace, process id and start time."""
    return f"{_host()}{_boot()}{_namespace()}-{os.getpid()}-{_start_time(os.getpid())}"


def has_ended(owner: str, touched: Path) -> bool:
    """Whether the process that ``owner`` names works no more.

    True for a process of this host that has ended, and for one of an earlier
    boot. What another host or process namespace does cannot be seen from here:
    its process counts as ended after a day in which it did not touch its file.

    Parameters
    ----------
    owner
        What `our_token` returned there.
    touched
        The file whose time of change tells that the process works.

    Raises
    ------
    FileNotFoundError
        The file is gone, and the owner of another host.
    """
    place, process_id, start_time = owner.split("-")
    if place[:8] == _host() and place[8:16] != _boot():
        return True
    if place == f"{_host()}{_boot()}{_namespace()}":
        return _start_time(int(process_id)) != int(start_time)
    return time.time() - touched.stat().st_mtime > ABANDONED_AFTER_SECONDS


def _start_time(process_id: int) -> int:
    """Return when a process started, in clock ticks since boot; 0 where there is none or it is dead already."""
    try:
        text = Path(f"/proc/{process_id}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    fields = text.rpartition(")")[2].split()  # the name before it may hold spaces and parentheses
    return 0 if fields[0] in "ZXx" else int(fields[19])


@cache
def _host() -> str:
    machine = Path("/etc/machine-id")
    identity = machine.read_text() if machine.is_file() else ""
    return sha256_hex(f"{os.uname().nodename}\n{identity}".encode())[:8]


@cache
def _boot() -> str:
    return sha256_hex(Path("/proc/sys/kernel/random/boot_id").read_bytes())[:8]


@cache
def _namespace() -> str:
    return sha256_hex(str(Path("/proc/self/ns/pid").readlink()).encode())[:8]
