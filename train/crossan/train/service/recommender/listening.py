"""The socket of a recommender: a thread for each connection, which answers one request after another."""

from __future__ import annotations

import os
import socket
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from crossan.cache_schema.errors import CrossanError
from crossan.train.service.recommender.wire import WireError, receive, send

__all__ = ["listen"]

_WAITING = 128
"""Connections that may wait to be taken."""


def listen(path: Path, answer: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Answer requests until the process ends.

    Parameters
    ----------
    path
        The socket, made here, readable by its owner alone.
    answer
        Returns the answer to a request; a `CrossanError` becomes ``{"error": ...}``.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # A path of a Unix socket has 107 bytes at most, and a data folder may have a longer one.
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    mask = os.umask(0o177)
    try:
        listener.bind(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.umask(mask)
        os.close(folder)
    listener.listen(_WAITING)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_serve, args=(connection, answer), daemon=True).start()


def _serve(connection: socket.socket, answer: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    with connection, suppress(WireError):
        while (request := receive(connection)) is not None:
            send(connection, _answered(request, answer))


def _answered(
    request: dict[str, Any], answer: Callable[[dict[str, Any]], dict[str, Any]]
) -> dict[str, Any]:
    try:
        return answer(request)
    except CrossanError as error:
        return {
            "error": {
                "message": error.message,
                "remedy": error.remedy,
                "exit_code": error.exit_code,
            }
        }
    except Exception:  # noqa: BLE001 - one request that meets a bug must not end the others
        traceback.print_exc()
        return {"error": {"message": "the recommender met a bug; its log has it", "remedy": None}}
