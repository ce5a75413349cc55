"""The CRC32C that ends every chunk and every journal record."""

from __future__ import annotations

from typing import Any

import google_crc32c
import numpy as np

__all__ = ["crc32c"]


def crc32c(data: Any, before: int = 0) -> int:  # noqa: ANN401 - any buffer
    """Return the CRC32C of some bytes.

    Parameters
    ----------
    data
        Any C-contiguous buffer; it is not copied.
    before
        The CRC32C of the bytes that come before these, 0 where none do.
    """
    # google-crc32c refuses memory maps and writable views, but takes any NumPy array. A second view
    # of one would take half as long as the sum of a row.
    whole = data if isinstance(data, np.ndarray) else np.frombuffer(data, dtype=np.uint8)
    return int(google_crc32c.extend(before, whole))
