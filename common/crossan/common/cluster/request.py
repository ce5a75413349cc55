"""What the user requests of a cluster, read once from the command line."""

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
    """Which cluster a job runs on, and how much of it."""

    address: str = LOCAL
    """Where the cluster is.

    ``local`` starts one on this machine for this job alone, ``auto`` finds the one
    that this machine is part of, and ``HOST:PORT`` or ``ray://HOST:PORT`` names one.
    """
    worker_count: int | None = None
    """How many workers, None for the default.

    The default is one for each ``gpus_per_worker`` accelerators, or one for each
    node where a worker holds no accelerator.
    """
    gpus_per_worker: float = 0.0


def parse_engine(
    engine: str,
    address: str | None,
    worker_count: int | None,
    gpus_per_worker: float | None,
    workers_hint: str = "",
) -> ClusterRequest | None:
    """Return the cluster to work on, None for this process alone.

    Without an address, ``RAY_ADDRESS`` names the cluster, as for all of Ray.
    ``workers_hint`` is added to the message for ``--workers`` without a cluster.

    Raises
    ------
    UsageError
        An unknown engine, or an option that only a cluster has without one.
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
            raise UsageError(f"{flag} {value}: needs a cluster{hint}", remedy="Add --engine ray")
    return None
