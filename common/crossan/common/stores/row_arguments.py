"""What a caller asks a store for, checked before anything is read."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["check_out", "checked_rows"]


def check_out(out: npt.NDArray[Any] | None, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Refuse an array that cannot take a result of this shape and dtype.

    Raises
    ------
    ValueError
        It has another shape or dtype, or is not C-contiguous; None is always right.
    """
    if out is not None and (out.shape != shape or out.dtype != dtype or not out.flags.c_contiguous):
        raise ValueError(
            f"expected out {shape} of {dtype}, C-contiguous, found {out.shape} of {out.dtype}"
        )


def checked_rows(rows: npt.NDArray[Any], item_count: int) -> npt.NDArray[np.int64]:
    """Return row numbers as int64, after looking at every one of them.

    Raises
    ------
    IndexError
        They are no whole numbers, have another number of dimensions than one, or one of them is
        below 0 or beyond the last item.
    """
    if rows.ndim != 1 or (rows.size and rows.dtype.kind not in "iu"):
        raise IndexError(
            f"expected one dimension of whole numbers, found {rows.ndim} of {rows.dtype}"
        )
    if rows.size and not 0 <= rows.min() <= rows.max() < item_count:
        raise IndexError(
            f"expected rows from 0 to {item_count - 1}, found {rows.min()} to {rows.max()}"
        )
    return rows.astype(np.int64, copy=False)
