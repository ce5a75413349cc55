"""Sizes of memory as people write them, and how much of it there is."""

from __future__ import annotations

import re
from pathlib import Path

from crossan.cache_schema.errors import UsageError

__all__ = ["available_ram", "parse_size", "show_size"]

_UNITS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_UNLIMITED = 1 << 60
"""The kernel writes more than this where a group has no limit."""


def parse_size(text: str, flag: str) -> int:
    """Return the bytes of ``4GiB``, ``500MiB``, ``8G`` (the same as ``8GiB``) or a plain number.

    Parameters
    ----------
    text
        What the user wrote.
    flag
        Where, for the message.

    Raises
    ------
    UsageError
        It is no size, or nothing.
    """
    found = re.fullmatch(r"(\d{1,18})(?:([KMGT])(?:iB)?)?", text, flags=re.ASCII)
    if found is None or int(found[1]) == 0:
        raise UsageError(f"{flag} {text}: expected a size such as 4GiB or 500MiB")
    return int(found[1]) << (10 * _UNITS[found[2] or ""])


def show_size(byte_count: int) -> str:
    """Return a number of bytes for people, ``"1.5 GiB"``; below ten units one decimal is shown."""
    size, unit = float(byte_count), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:.1f} {unit}" if unit != "bytes" and size < 9.95 else f"{size:,.0f} {unit}"


def available_ram(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the bytes that this process can still take without swapping, its control group's limit included.

    Parameters
    ----------
    proc, groups
        Where the kernel tells it.

    Notes
    -----
    Of the machine, the kernel's own estimate. Of the group (version 2 or 1), the
    limit less what is used, page cache that can be dropped not counted as used.
    """
    free = _fields(proc / "meminfo", r"^(\w+):\s+(\d+) kB")["MemAvailable"] * 1024
    own = re.search(r"^0::/(.*)$", (proc / "self/cgroup").read_text(encoding="utf-8"), re.MULTILINE)
    inner = groups / (own[1] if own else "")
    nested = [folder for folder in (inner, *inner.parents) if folder.is_relative_to(groups)]
    for folder in nested:
        free = min(free, _left_of_group(folder, "memory.max", "memory.current", "inactive_file"))
    old = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    return min(free, _left_of_group(groups / "memory", *old))


def _left_of_group(folder: Path, limit: str, used: str, dropped: str) -> int:
    """Return what a control group's limit leaves; `_UNLIMITED` where it has none."""
    try:
        most = (folder / limit).read_text(encoding="ascii").strip()
        now = int((folder / used).read_text(encoding="ascii"))
        cache = _fields(folder / "memory.stat", r"^(\w+) (\d+)").get(dropped, 0)
    except OSError:  # no such group here
        return _UNLIMITED
    return _UNLIMITED if most == "max" else max(int(most) - now + cache, 0)


def _fields(path: Path, pattern: str) -> dict[str, int]:
    return {
        name: int(value)
        for name, value in re.findall(pattern, path.read_text(encoding="ascii"), re.MULTILINE)
    }
