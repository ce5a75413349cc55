"""Which process owns a file or folder, and whether it still works."""

from __future__ import annotations

import os
import re
import time
from functools import cache
from pathlib import Path

from crossan.cache_schema.canonical import sha256_hex

__all__ = ["has_ended", "is_token", "our_token"]

_TOKEN = re.compile(r"[0-9a-f]{1,40}-[0-9]{1,20}-[0-9]{1,20}")

ABANDONED_AFTER_SECONDS = 86_400.0
"""Age at which another host's claim is taken over, if its file was not touched meanwhile.

A live process touches its file every few minutes.
"""


def our_token() -> str:
    """Return the token that names this process as an owner.

    It holds the host, the boot, the process namespace, the process id and the start
    time of the process. Process ids are used again, so the id alone would not do.
    """
    return f"{_host()}{_boot()}{_namespace()}-{os.getpid()}-{_start_time(os.getpid())}"


def is_token(text: str) -> bool:
    """Return whether a text is what `our_token` returned in some process."""
    return _TOKEN.fullmatch(text) is not None


def has_ended(owner: str, touched: Path) -> bool:
    """Whether the process that ``owner`` names has stopped working.

    True for a process of this host that has ended, and for one of an earlier
    boot. What another host or process namespace does cannot be seen from here:
    its process counts as ended after a day in which it did not touch its file.

    Parameters
    ----------
    owner
        What `our_token` returned in that process.
    touched
        The file that the process touches to show that it works.

    Raises
    ------
    FileNotFoundError
        The file is missing, and the owner is on another host.
    """
    origin, process_id, start_time = owner.split("-")
    # The parts of the origin are 8 digits each: host, boot, namespace.
    if origin[:8] == _host() and origin[8:16] != _boot():
        return True
    if origin == f"{_host()}{_boot()}{_namespace()}":
        # Another process may have the same id by now, but it did not start at the same tick.
        return _start_time(int(process_id)) != int(start_time)
    return time.time() - touched.stat().st_mtime > ABANDONED_AFTER_SECONDS


def _start_time(process_id: int) -> int:
    """Return when a process started, in clock ticks since boot.

    0 where there is no such process, or where it is dead but not yet waited for.
    """
    try:
        text = Path(f"/proc/{process_id}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    # The program's name before the last parenthesis may hold spaces and parentheses itself.
    fields = text.rpartition(")")[2].split()
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
