"""Ports for programs that must be told theirs before they begin."""

from __future__ import annotations

import os
import random
import socket

_FIRST, _EACH = 20_000, 500
"""Below those that the system gives to whoever asks for any port, or connects from one."""


def free_port():
    """Return a port of this worker's own at which nobody listens now."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = _FIRST + _EACH * (worker % 20)
    for port in random.SystemRandom().sample(range(first, first + _EACH), _EACH):
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port
    raise AssertionError(f"no port is free from {first} on")
