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
"""Only requests, counts and results pass through it; Ray's own choice is a third of the memory."""
_SECONDS_TO_ANSWER = 10.0
_CLIENT = "ray://"
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # Ray warns of this change at every start; we name the device ourselves
}


@contextmanager
def connected(cluster: ClusterRequest) -> Iterator[Any]:
    """Yield the ``ray`` module, connected; a cluster started here ends with the block.

    Raises
    ------
    UsageError
        Ray, or its client for ``ray://``, is not installed.
    RemoteError
        No cluster answers there.
    IncompatibleError
        It runs another version of Ray or of Python.
    """
    _set_environment(is_ours=cluster.address == LOCAL)
    try:
        import ray
    except ImportError:
        raise UsageError(
            "--engine ray: Ray is not installed here", remedy="Run: pip install 'crossan[ray]'"
        ) from None
    if cluster.address.startswith(_CLIENT) and find_spec("grpc") is None:
        raise UsageError(
            f"--address {cluster.address}: Ray's client is not installed here",
            remedy="Run: pip install 'ray[client]'",
        )
    _require_answer(cluster.address)
    previous = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(**_options(cluster))
    except (ConnectionError, TimeoutError) as error:
        raise _no_answer(cluster.address, error) from None
    except RuntimeError as error:
        if "ersion mismatch" not in str(error):
            raise
        found = " ".join(str(error).split())
        raise IncompatibleError(
            f"--address {cluster.address}: {found}",
            remedy="Install the same ray and Python on all machines.",
        ) from None
    try:
        with _terminated_as(previous):
            yield ray
    finally:
        with redirect_stdout(sys.stderr):  # its last words
            ray.shutdown()


def _require_answer(address: str) -> None:
    """See that something listens at ``HOST:PORT``: Ray itself would wait for it for ever."""
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
        f"--address {address}: no Ray cluster answers there: {str(error).splitlines()[0]}",
        remedy="Start one with `ray start --head`, or give --address local to use this machine alone.",
    )


@contextmanager
def _terminated_as(previous: Any) -> Iterator[None]:  # noqa: ANN401 - what signal.getsignal returns
    """Put the handler of SIGTERM back that Ray has replaced, and the exit code that a call of Ray's makes 1 of."""
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
    return [Node(float(found.get("CPU", 0)), float(found.get("GPU", 0))) for found in resources]


def lost_errors(ray: Any) -> tuple[type[Exception], ...]:  # noqa: ANN401 - a module
    """Return what Ray raises where a worker, its node or what it has returned is gone."""
    return (
        ray.exceptions.RayActorError,
        ray.exceptions.WorkerCrashedError,
        ray.exceptions.NodeDiedError,
        ray.exceptions.OutOfMemoryError,
        ray.exceptions.ObjectLostError,
    )


def first_line(error: Exception) -> str:
    """Return the first line of an error's text, its class's name where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _set_environment(*, is_ours: bool) -> None:
    """Choose, where the user has not, what Ray reads from the environment of its processes."""
    chosen = dict(_QUIET)
    if is_ours:
        # Ray listens on the loopback interface: the address alone it would replace by one that others reach
        chosen["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    if is_ours and not any(name.startswith("RAY_AUTH_") for name in os.environ):
        # a token for this job, where Ray would keep one in the home folder
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
