"""Rows of a file without any check, for the store's gathers to be held against."""

from __future__ import annotations

import os
from pathlib import Path

import google_crc32c
import numpy as np

__all__ = ["BareFile"]


class BareFile:
    """All rows in one file, read without any check of the file."""

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self.rows = np.memmap(path, np.float16, "r", shape=shape)
        self._file = path.open("rb")

    def take(self, chosen: np.ndarray, out: np.ndarray) -> None:
        """Copy rows from the memory map."""
        np.take(self.rows, chosen, axis=0, out=out, mode="clip")

    def take_and_sum(self, chosen: np.ndarray, out: np.ndarray) -> None:
        """Copy rows from the memory map, and sum them while they are in the cache."""
        for start in range(0, len(chosen), 64):
            part = out[start : start + 64]
            self.take(chosen[start : start + 64], part)
            google_crc32c.extend(0, part)

    def read_and_sum(self, chosen: list[int], out: np.ndarray) -> None:
        """Read rows from the file one by one, and sum each."""
        flat, row_bytes = out.reshape(-1).view(np.uint8), self.rows[0].nbytes
        for target, row in enumerate(chosen):
            part = flat[target * row_bytes : (target + 1) * row_bytes]
            os.preadv(self._file.fileno(), [part], row * row_bytes)
            google_crc32c.extend(0, part)
