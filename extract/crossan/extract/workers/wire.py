"""Exchange messages between a job and its workers, a JSON header and raw arrays.

A worker has read hostile bytes, so nothing that it sends is unpickled. Its
arrays come as plain bytes of a few number types.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Closed", "receive", "send"]

Arrays = Mapping[str, npt.NDArray[Any]]

_LENGTH = struct.Struct("<I")
_DTYPES = {"uint8", "int64", "float32", "float64"}
# A worker that hostile bytes have taken over must not make the job reserve all memory.
_MOST_HEADER_BYTES = 1 << 24
_MOST_ARRAY_BYTES = 1 << 32


class Closed(ConnectionError):  # noqa: N818 - an end, not an error
    """The other side is gone."""


def send(
    connection: socket.socket, header: Mapping[str, Any], arrays: Arrays | None = None
) -> None:
    """Send one message, and block until all of it is on its way.

    Parameters
    ----------
    header
        Anything JSON can say.
    arrays
        uint8, int64, float32 or float64, of any shape, by name.
    """
    described = {
        name: [array.dtype.name, list(array.shape)] for name, array in (arrays or {}).items()
    }
    data = json.dumps({"header": header, "arrays": described}).encode("ascii")
    connection.sendall(_LENGTH.pack(len(data)) + data)
    for array in (arrays or {}).values():
        connection.sendall(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def receive(connection: socket.socket) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """Return the header and the arrays of the next message.

    Raises
    ------
    Closed
        The other side ended, or sent something that is no message.
    TimeoutError
        The socket's own time limit ran out between two bytes.
    """
    (length,) = _LENGTH.unpack(_read(connection, bytearray(_LENGTH.size)))
    if length > _MOST_HEADER_BYTES:
        raise Closed(f"a header of {length:,} bytes")
    try:
        message = json.loads(bytes(_read(connection, bytearray(length))))
        header, described = message["header"], message["arrays"]
        arrays = {name: _empty(*about) for name, about in described.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Closed(f"no message: {error}") from None
    # Straight into the memory of the arrays: a copy of a video's frames would take megabytes.
    for array in arrays.values():
        _read(connection, array.reshape(-1).view(np.uint8).data)
    return header, arrays


def _empty(dtype: str, shape: list[int]) -> npt.NDArray[Any]:
    if dtype not in _DTYPES or not all(isinstance(length, int) and length >= 0 for length in shape):
        raise ValueError(f"array {dtype} {shape}")
    size = np.dtype(dtype).itemsize
    # Python's own integers do not overflow, as a product of NumPy's would.
    for length in shape:
        size *= length
    if size > _MOST_ARRAY_BYTES:
        raise ValueError(f"array of {size:,} bytes")
    return np.empty(shape, dtype)


def _read(connection: socket.socket, target: bytearray | memoryview) -> bytearray | memoryview:
    view = memoryview(target)
    while view:
        count = connection.recv_into(view)
        if count == 0:
            raise Closed("the other side is gone")
        view = view[count:]
    return target
