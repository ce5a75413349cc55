"""Whether the weights in a file of safetensors are finite, told without NumPy or torch.

A floating-point number is NaN or infinite exactly where all bits of its exponent are set. Those bits
lie in the last two bytes of a little-endian number, so two slices of the file with a step, looked up
in a table and combined as one long integer, tell it of millions of numbers in a few milliseconds.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from crossan.cache_schema.errors import StoreIntegrityError

__all__ = ["require_finite_weights"]

_LARGEST_HEADER = 100_000_000
"""Bytes, as safetensors has it."""
_PIECE = 1 << 20
"""Bytes that are looked at together; a multiple of every size below."""


class _Number(NamedTuple):
    size: int
    """Bytes of a number."""
    high: int
    """Bits of the exponent in the last byte."""
    low: int
    """Those in the last byte but one."""


_FORMATS = {
    "F64": _Number(8, 0x7F, 0xF0),
    "F32": _Number(4, 0x7F, 0x80),
    "BF16": _Number(2, 0x7F, 0x80),
    "F16": _Number(2, 0x7C, 0x00),
}
"""By the names of safetensors; whole numbers are always finite."""


def require_finite_weights(path: Path) -> None:
    """Refuse a file of safetensors with a number that is NaN or infinite.

    Raises
    ------
    StoreIntegrityError
        It has one, or it is no file of safetensors.
    """
    try:
        with path.open("rb") as file:
            begin, header = _header(file)
            broken = [
                name
                for name, tensor in header.items()
                if name != "__metadata__" and not _is_finite(file, begin, tensor)
            ]
    except (struct.error, ValueError, KeyError, TypeError, RecursionError) as error:
        raise StoreIntegrityError(f"{path}: expected a file of safetensors: {error!r}") from None
    if broken:
        raise StoreIntegrityError(
            f"{path}: {len(broken):,} of {len(header):,} weights are NaN or infinite, first:"
            f" {broken[0]}",
            remedy="Train again with a lower learning rate: --set optimiser.lr=RATE",
        )


def _header(file: BinaryIO) -> tuple[int, dict[str, Any]]:
    """Return where the bytes of a file's tensors begin, and what it says of them."""
    (length,) = struct.unpack("<Q", file.read(8))
    if length > _LARGEST_HEADER:
        raise ValueError(f"a header of {length:,} bytes")
    header = json.loads(file.read(length))
    if not isinstance(header, dict):
        raise ValueError("a header that is no object")
    return 8 + length, header


def _is_finite(file: BinaryIO, begin: int, tensor: Any) -> bool:  # noqa: ANN401 - of JSON
    number = _FORMATS.get(tensor["dtype"])
    if number is None:
        return True
    first, end = tensor["data_offsets"]
    high = bytes(byte & number.high == number.high for byte in range(256))
    low = bytes(byte & number.low == number.low for byte in range(256))
    file.seek(begin + first)
    for start in range(first, end, _PIECE):
        piece = file.read(min(_PIECE, end - start))
        if len(piece) < min(_PIECE, end - start):
            raise ValueError("fewer bytes than its header says")
        is_high = int.from_bytes(piece[number.size - 1 :: number.size].translate(high), "little")
        is_low = int.from_bytes(piece[number.size - 2 :: number.size].translate(low), "little")
        if is_high & is_low:
            return False
    return True
