"""Joining a Ray cluster, or starting one on this machine, without its noise."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from importlib.util import find_spec
from types import FrameType
from typing import Any

from crossan.cache_schema.errors import IncompatibleError, RemoteError, UsageError
from crossan.common.cluster.fitting import Node
from crossan.common.cluster.request import LOCAL, ClusterRequest

__all__ = ["connected", "first_line", "lost_errors", "nodes_of"]

_OBJECT_STORE_BYTES = 80_000_000
"""Size of Ray's object store, through which only requests, counts and results pass.

Ray's own choice is a third of the memory.
"""
_SECONDS_TO_ANSWER = 10.0
_CLIENT = "ray://"
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray warns of this change at every start. We name the device ourselves.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


@contextmanager
def connected(cluster: ClusterRequest) -> Iterator[Any]:
    """Yield the ``ray`` module, connected to a cluster.

    A cluster that is started here ends with the block.

    Raises
    ------
    UsageError
        Ray, or its client for ``ray://``, is not installed.
    RemoteError
        No cluster answers at the address.
    IncompatibleError
        The cluster runs another version of Ray or of Python.
    """
    _set_environment(is_ours=cluster.address == LOCAL)
    try:
        import ray
    except ImportError:
        raise UsageError(
            "--engine ray: Ray is not installed on this machine",
            remedy="Run: pip install 'crossan[ray]'",
        ) from None
    if cluster.address.startswith(_CLIENT) and find_spec("grpc") is None:
        raise UsageError(
            f"--address {cluster.address}: Ray's client is not installed on this machine",
            remedy="Run: pip install 'ray[client]'",
        )
    _require_answer(cluster.address)
    # Ray installs a handler of its own, so ours has to be read before.
    previous = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(**_options(cluster))
    except (ConnectionError, TimeoutError) as error:
        raise _no_answer(cluster.address, error) from None
    except RuntimeError as error:
        # Ray has no error class for this, and writes the word with a capital or without.
        if "ersion mismatch" not in str(error):
            raise
        explanation = " ".join(str(error).split())
        raise IncompatibleError(
            f"--address {cluster.address}: {explanation}",
            remedy="Install the same ray and Python on all machines",
        ) from None
    try:
        with _terminated_as(previous):
            yield ray
    finally:
        # Ray prints when it ends, and our stdout may be JSON.
        with redirect_stdout(sys.stderr):
            ray.shutdown()


def _require_answer(address: str) -> None:
    """Check that something listens at ``HOST:PORT``, for which Ray itself would wait for ever."""
    named = os.environ.get("RAY_ADDRESS", address) if address == "auto" else address
    host, _, port = named.removeprefix(_CLIENT).rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host, int(port)), timeout=_SECONDS_TO_ANSWER).close()
    except OSError as error:
        raise _no_answer(named, error) from None


def _no_answer(address: str, error: OSError) -> RemoteError:
    return RemoteError(
        f"--address {address}: no Ray cluster answers: {str(error).splitlines()[0]}",
        remedy="Run: ray start --head, or give --address local to use this machine alone",
    )


@contextmanager
def _terminated_as(previous: Any) -> Iterator[None]:  # noqa: ANN401 - what signal.getsignal returns
    """Keep our handler of SIGTERM, and its exit code, in the block.

    Ray replaces the handler, and some of its calls turn any exit into exit code 1.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []

    def note_and_pass_on(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if callable(previous):
            previous(number, frame)
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, note_and_pass_on)
    try:
        yield
    except SystemExit:
        if received:
            raise SystemExit(128 + received[0]) from None
        raise
    finally:
        signal.signal(signal.SIGTERM, previous)


def nodes_of(ray: Any) -> list[Node]:  # noqa: ANN401 - a module
    """Return the machines of the connected cluster that are up."""
    resources = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [Node(float(node.get("CPU", 0)), float(node.get("GPU", 0))) for node in resources]


def lost_errors(ray: Any) -> tuple[type[Exception], ...]:  # noqa: ANN401 - a module
    """Return the errors that Ray raises when a worker, its node or its result is lost."""
    return (
        ray.exceptions.RayActorError,
        ray.exceptions.WorkerCrashedError,
        ray.exceptions.NodeDiedError,
        ray.exceptions.OutOfMemoryError,
        ray.exceptions.ObjectLostError,
    )


def first_line(error: Exception) -> str:
    """Return the first line of an error's text, or its class's name where it has no text."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _set_environment(*, is_ours: bool) -> None:
    """Set what Ray reads from the environment, where the user has not set it."""
    chosen = dict(_QUIET)
    if is_ours:
        # With the address alone Ray would replace the loopback interface by one that others reach.
        chosen["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    if is_ours and not any(name.startswith("RAY_AUTH_") for name in os.environ):
        # A token for this job alone. Ray would keep one in the home folder.
        chosen |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    for name, value in chosen.items():
        os.environ.setdefault(name, value)


def _options(cluster: ClusterRequest) -> dict[str, Any]:
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    if cluster.address != LOCAL:
        return {"address": cluster.address, **quiet}
    return {
        "address": LOCAL,
        "num_cpus": max(len(os.sched_getaffinity(0)), cluster.worker_count or 1),
        "include_dashboard": False,
        "object_store_memory": _OBJECT_STORE_BYTES,
        "_node_ip_address": "127.0.0.1",
        **quiet,
    }
