"""Sizes of memory as people write them, how much of it there is, and errors where it ran out."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crossan.cache_schema.errors import ResourceError, UsageError

__all__ = [
    "MemoryRanOutError",
    "available_ram",
    "first_line",
    "naming_shortage",
    "parse_size",
    "ran_out_of_memory",
    "resident_bytes",
    "show_size",
]

_UNITS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_UNLIMITED = 1 << 60
"""The kernel writes more than this where a group has no limit."""
_SIGNS = (
    "can't allocate memory",  # torch on the CPU
    "not enough memory",
    "CUDA error: out of memory",  # pinned memory
    "_STATUS_ALLOC_FAILED",  # cuBLAS, cuDNN
    "backend out of memory",  # MPS
)
"""What a RuntimeError says when memory ran out in a library without an exception type for it."""


class MemoryRanOutError(ResourceError):
    """Memory ran out in the middle of a piece of work.

    Parameters
    ----------
    doing
        What was being done, for example "validation".
    reason
        What the library said, in one line.
    """

    def __init__(self, doing: str, reason: str) -> None:
        super().__init__(f"out of memory in {doing}: {reason}")
        self.doing, self.reason = doing, reason


def ran_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out, of RAM or of a device.

    Every library has its own way to say so. torch is not imported for it.
    """
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if isinstance(error, MemoryError):
        return True
    if not isinstance(error, RuntimeError):
        return False
    is_of_torch = type(error).__name__ == "OutOfMemoryError"
    return is_of_torch or any(sign in str(error) for sign in _SIGNS)


@contextmanager
def naming_shortage(doing: str) -> Iterator[None]:
    """Say what was being done where memory runs out in the block.

    An error that says so already is left as it is.

    Raises
    ------
    MemoryRanOutError
        Memory ran out.
    """
    try:
        yield
    except (RuntimeError, MemoryError, OSError) as error:
        if isinstance(error, MemoryRanOutError) or not ran_out_of_memory(error):
            raise
        raise MemoryRanOutError(doing, first_line(error)) from None


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, its kind where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


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
        It is no size, or a size of zero.
    """
    match = re.fullmatch(r"(\d{1,18})(?:([KMGT])(?:iB)?)?", text, flags=re.ASCII)
    if match is None or int(match[1]) == 0:
        raise UsageError(f"{flag} {text}: expected a size such as 4GiB or 500MiB")
    # Each unit is 2**10 of the one below it.
    return int(match[1]) << (10 * _UNITS[match[2] or ""])


def show_size(byte_count: int) -> str:
    """Return a number of bytes for people, for example ``"1.5 GiB"``.

    One decimal is shown below ten units.
    """
    size, unit = float(byte_count), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    # 9.95 and not 10: from there on one decimal would round to "10.0".
    has_decimal = unit != "bytes" and size < 9.95
    return f"{size:.1f} {unit}" if has_decimal else f"{size:,.0f} {unit}"


def available_ram(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the bytes that this process can still take without swapping.

    The limit of its control group is included.

    Parameters
    ----------
    proc, groups
        Folders in which the kernel reports memory and control groups.

    Notes
    -----
    For the machine this is the kernel's own estimate. For a control group (version 2
    or 1) it is the limit less what is used, where page cache that can be dropped
    does not count as used.
    """
    free = _fields(proc / "meminfo", r"^(\w+):\s+(\d+) kB")["MemAvailable"] * 1024
    memberships = (proc / "self/cgroup").read_text(encoding="utf-8")
    group = re.search(r"^0::/(.*)$", memberships, re.MULTILINE)
    inner = groups / (group[1] if group else "")
    # A group inside others is bound by the tightest of their limits, not by its own alone.
    nested = [folder for folder in (inner, *inner.parents) if folder.is_relative_to(groups)]
    for folder in nested:
        free = min(free, _left_of_group(folder, "memory.max", "memory.current", "inactive_file"))
    version_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    return min(free, _left_of_group(groups / "memory", *version_1))


def resident_bytes(proc: Path = Path("/proc")) -> int:
    """Return the RAM that this process takes now, in bytes.

    ``proc`` is the folder in which the kernel reports memory.
    """
    return _fields(proc / "self/status", r"^(\w+):\s+(\d+) kB")["VmRSS"] * 1024


def _left_of_group(folder: Path, limit: str, used: str, dropped: str) -> int:
    """Return the bytes that a control group's limit leaves, `_UNLIMITED` where it has none."""
    try:
        most = (folder / limit).read_text(encoding="ascii").strip()
        now = int((folder / used).read_text(encoding="ascii"))
        cache = _fields(folder / "memory.stat", r"^(\w+) (\d+)").get(dropped, 0)
    except OSError:  # there is no such group on this machine
        return _UNLIMITED
    return _UNLIMITED if most == "max" else max(int(most) - now + cache, 0)


def _fields(path: Path, pattern: str) -> dict[str, int]:
    return {
        name: int(value)
        for name, value in re.findall(pattern, path.read_text(encoding="ascii"), re.MULTILINE)
    }
