"""Messages between the server and a recommender: JSON behind its length, over a Unix socket.

Both ends are this file, which loads the standard library only.
"""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

__all__ = ["LARGEST_MESSAGE", "WireError", "receive", "send"]

LARGEST_MESSAGE = 1 << 24
"""Bytes of a message at most: a thousand items with long titles are far below."""

_LENGTH = struct.Struct(">I")


class WireError(OSError):
    """The other end is gone, or does not speak as we do."""


def send(connection: socket.socket, message: dict[str, Any]) -> None:
    """Send one message.

    Raises
    ------
    WireError
        The other end is gone, or the message is too large.
    """
    data = json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()
    if len(data) > LARGEST_MESSAGE:
        raise WireError(f"expected at most {LARGEST_MESSAGE:,} bytes, got {len(data):,}")
    try:
        connection.sendall(_LENGTH.pack(len(data)) + data)
    except OSError as error:
        raise WireError(f"the connection broke: {error}") from error


def receive(connection: socket.socket) -> dict[str, Any] | None:
    """Return the next message, None where the other end has closed the connection.

    Raises
    ------
    WireError
        The connection broke within a message, or what came is none.
    TimeoutError
        The socket's timeout passed.
    """
    head = _receive_all(connection, _LENGTH.size)
    if head is None:
        return None
    (length,) = _LENGTH.unpack(head)
    if length > LARGEST_MESSAGE:
        raise WireError(f"expected at most {LARGEST_MESSAGE:,} bytes, found {length:,}")
    data = _receive_all(connection, length)
    if data is None:
        raise WireError("the connection broke within a message")
    try:
        message = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise WireError(f"expected JSON: {error}") from error
    if not isinstance(message, dict):
        raise WireError(f"expected a JSON object, found {type(message).__name__}")
    return message


def _receive_all(connection: socket.socket, count: int) -> bytes | None:
    """Return so many bytes, None where the other end closed before the first."""
    parts: list[bytes] = []
    missing = count
    while missing:
        try:
            part = connection.recv(min(missing, 1 << 20))
        except TimeoutError:
            raise
        except OSError as error:
            raise WireError(f"the connection broke: {error}") from error
        if not part:
            if missing == count:
                return None
            raise WireError("the connection broke within a message")
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)
