"""What the user asked of a cluster, read once, at the door."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass

from crossan.cache_schema.errors import UsageError

__all__ = ["LOCAL", "ClusterRequest", "parse_engine"]

LOCAL = "local"
_ENGINES = ("local", "ray")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterRequest:
    """Which cluster, and what of it."""

    address: str = LOCAL
    """``local`` starts one on this machine for this job alone; ``auto`` finds the one that this machine is
    part of; else ``HOST:PORT`` or ``ray://HOST:PORT``."""
    worker_count: int | None = None
    """None takes one worker for each ``gpus_per_worker`` accelerators, or without any one for each node."""
    gpus_per_worker: float = 0.0


def parse_engine(
    engine: str,
    address: str | None,
    worker_count: int | None,
    gpus_per_worker: float | None,
    workers_hint: str = "",
) -> ClusterRequest | None:
    """Return the cluster to work on; None for this process alone.

    Without an address, ``RAY_ADDRESS`` names the cluster, as for all of Ray.
    ``workers_hint`` is added to what is said of ``--workers`` without a cluster.

    Raises
    ------
    UsageError
        Another engine, or what only a cluster has without one.
    """
    if engine not in _ENGINES:
        close = difflib.get_close_matches(engine, _ENGINES, n=1)
        hint = f"; did you mean '{close[0]}'?" if close else ""
        raise UsageError(f"--engine {engine}: expected one of {', '.join(_ENGINES)}{hint}")
    if engine == "ray":
        return ClusterRequest(
            address=address or os.environ.get("RAY_ADDRESS") or LOCAL,
            worker_count=worker_count,
            gpus_per_worker=gpus_per_worker or 0.0,
        )
    given = {"--address": address, "--workers": worker_count, "--gpus-per-worker": gpus_per_worker}
    for flag, value in given.items():
        if value is not None:
            hint = workers_hint if flag == "--workers" else ""
            raise UsageError(f"{flag} {value}: needs a cluster{hint}", remedy="Add --engine ray.")
    return None
