"""Float32 values to the stored dtype and back, with every overflow and NaN noticed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from crossan.cache_schema.errors import UsageError
from crossan.cache_schema.layout import STORED_DTYPES

__all__ = ["bits_dtype", "decode_rows", "encode_rows", "fill_rows", "read_dtype"]

_LARGEST = {
    "float16": 65_504.0,
    "float32": 3.4028234663852886e38,
    "bfloat16": 3.3895313892515355e38,
}
_BFLOAT16_NAN = 0x7FC0


def encode_rows(
    rows: npt.NDArray[np.float32], stored_dtype: str, layers: Sequence[int] | None = None
) -> tuple[npt.NDArray[Any], list[str | None]]:
    """Round hidden states to the stored dtype and say which items do not fit it.

    Parameters
    ----------
    rows
        ``(item, layer, dim)`` float32.
    stored_dtype
        ``float16``, ``float32`` or ``bfloat16``; rounding is to nearest, ties to even.
    layers
        Layer numbers to name in a problem; None counts from 0.

    Returns
    -------
    tuple
        The stored array of the same shape (uint16 for bfloat16), and for each
        item None or its first problem, ``"NaN in layer 3"`` or
        ``"overflow in layer 5: 70,123 > 65,504"``.

    Raises
    ------
    UsageError
        Another stored dtype.
    """
    if stored_dtype not in STORED_DTYPES:
        raise UsageError(
            f"stored dtype: expected one of {', '.join(STORED_DTYPES)}, found {stored_dtype!r}"
        )
    rows = np.ascontiguousarray(rows, dtype=np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        stored = (
            _to_bfloat16(rows)
            if stored_dtype == "bfloat16"
            else rows.astype(bits_dtype(stored_dtype))
        )
    is_bad = ~np.isfinite(decode_rows(stored, stored_dtype)).all(axis=2)  # (item, layer)
    names = range(rows.shape[1]) if layers is None else layers
    problems: list[str | None] = [None] * len(rows)
    for item in np.flatnonzero(is_bad.any(axis=1)):
        layer = int(np.argmax(is_bad[item]))
        problems[item] = _problem(rows[item, layer], names[layer], _LARGEST[stored_dtype])
    return stored, problems


def decode_rows(stored: npt.NDArray[Any], stored_dtype: str) -> npt.NDArray[Any]:
    """Return stored values as numbers, bfloat16 bits as float32."""
    if stored_dtype != "bfloat16":
        return stored
    return (stored.astype(np.uint32) << 16).view(np.float32)


def bits_dtype(stored_dtype: str) -> np.dtype[Any]:
    """Return the NumPy dtype of the bytes on disk, uint16 for bfloat16."""
    return np.dtype(STORED_DTYPES[stored_dtype].numpy)


def read_dtype(stored_dtype: str) -> np.dtype[Any]:
    """Return the NumPy dtype that a reader is given, float32 for bfloat16."""
    return np.dtype(np.float32) if stored_dtype == "bfloat16" else bits_dtype(stored_dtype)


def fill_rows(shape: tuple[int, ...], stored_dtype: str) -> npt.NDArray[Any]:
    """Return an array of stored NaN."""
    value = _BFLOAT16_NAN if stored_dtype == "bfloat16" else np.nan
    return np.full(shape, value, dtype=bits_dtype(stored_dtype))


def _to_bfloat16(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    bits = rows.view(np.uint32)
    # Adding half of what is cut off, less one, carries above a tie; the lowest kept bit makes
    # a tie carry too where the result would be odd.
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(rows), _BFLOAT16_NAN, rounded).astype(np.uint16)


def _problem(values: npt.NDArray[np.float32], layer: int, largest: float) -> str:
    if np.isnan(values).any():
        return f"NaN in layer {layer}"
    worst = float(np.abs(values).max())
    if np.isinf(worst):
        return f"infinity in layer {layer}"
    shown = f"{worst:,.0f} > {largest:,.0f}" if largest < 1e9 else f"{worst:.6g} > {largest:.6g}"
    return f"overflow in layer {layer}: {shown}"
