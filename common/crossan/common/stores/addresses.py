"""Ranges of addresses that chunk files are mapped into."""

from __future__ import annotations

import ctypes
import math
import os
import resource
from collections.abc import Sequence
from typing import Any

from crossan.cache_schema.layout import ArrayLayout

__all__ = ["AddressRange", "chunk_starts", "may_have_gaps"]

_PROT_NONE, _PROT_READ = 0, 1
_MAP_SHARED, _MAP_PRIVATE, _MAP_FIXED, _MAP_ANONYMOUS, _MAP_NORESERVE = (
    0x01,
    0x02,
    0x10,
    0x20,
    0x4000,
)
_FAILED = ctypes.c_void_p(-1).value
_HUGE_PAGE = 2 * 2**20
"""Bytes that one entry of the page table maps, where address and file offset agree modulo these."""
_MOST_RESERVED = 2**38
"""Bytes of addresses that gaps may spread chunks over: half of what the smallest kernels give."""


def chunk_starts(layouts: Sequence[ArrayLayout], *, has_gaps: bool) -> tuple[list[int], int]:
    """Return where in a range of addresses each raw chunk begins, and the bytes of the range.

    Parameters
    ----------
    layouts
        Of each chunk, one at least. All rows are of one size, each chunk is whole pages long.
    has_gaps
        Whether a chunk that holds a huge page may begin at one, a gap before it. Without gaps
        each begins where the one before ends, and so they do where the range would be too long.

    Returns
    -------
    tuple
        Offsets in bytes, ascending, multiples of the page and of the row, and the end of the last.
    """
    # The kernel maps a file's huge page by one entry only where the address allows it. A gather
    # jumps about in the store and spends a fifth of its time on finding small pages.
    step = math.lcm(_HUGE_PAGE, layouts[0].row_bytes)
    starts, end = [], 0
    for layout in layouts:
        is_large = layout.chunk_bytes >= _HUGE_PAGE
        starts.append(_round_up(end, step) if has_gaps and is_large else end)
        end = starts[-1] + layout.chunk_bytes
    if has_gaps and end > _MOST_RESERVED:
        return chunk_starts(layouts, has_gaps=False)
    return starts, end


def may_have_gaps() -> bool:
    """Whether this process may reserve addresses that it does not use, as none of them counts."""
    return resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY


def _round_up(number: int, step: int) -> int:
    return -(-number // step) * step


class AddressRange:
    """A reserved range of addresses, given back when nothing refers to it any more.

    It begins at a huge page. What nothing was placed at ends the process that touches it.

    Parameters
    ----------
    byte_count
        Its length.

    Raises
    ------
    OSError
        There are not as many addresses.
    """

    def __init__(self, byte_count: int) -> None:
        self.byte_count, self._reserved_bytes = byte_count, byte_count + _HUGE_PAGE
        # Python's own mmap cannot map a second file into a range that it holds: MAP_FIXED does.
        self._map = ctypes.CDLL(None, use_errno=True).mmap
        self._map.restype = ctypes.c_void_p
        self._map.argtypes = [
            *(ctypes.c_void_p, ctypes.c_size_t),
            *(ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long),
        ]
        self._unmap = ctypes.CDLL(None, use_errno=True).munmap
        self._unmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        self._reserved: int | None = None
        flags = _MAP_PRIVATE | _MAP_ANONYMOUS | _MAP_NORESERVE
        self._reserved = self._called(None, self._reserved_bytes, _PROT_NONE, flags, -1)
        self.address = _round_up(self._reserved, _HUGE_PAGE)

    def place(self, offset: int, byte_count: int, descriptor: int) -> None:
        """Map the start of a file at an offset, both multiples of the page size."""
        self._called(
            self.address + offset, byte_count, _PROT_READ, _MAP_SHARED | _MAP_FIXED, descriptor
        )

    @property
    def __array_interface__(self) -> dict[str, Any]:
        """What NumPy makes an array of bytes of, ``(byte_count,)``, read-only."""
        return {
            "version": 3,
            "typestr": "|u1",
            "shape": (self.byte_count,),
            "data": (self.address, True),
        }

    def __del__(self) -> None:
        """Give the addresses back, after the last view is gone: an array keeps what made it."""
        if self._reserved is not None:
            self._unmap(self._reserved, self._reserved_bytes)

    def _called(
        self, address: int | None, byte_count: int, protection: int, flags: int, descriptor: int
    ) -> int:
        mapped = self._map(address, byte_count, protection, flags, descriptor, 0)
        if mapped is None or mapped == _FAILED:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return int(mapped)
