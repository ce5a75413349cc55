"""How many workers a cluster holds: a pure function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from crossan.cache_schema.errors import ResourceError

__all__ = ["Crew", "Node", "fit_crew"]


@dataclass(frozen=True, slots=True)
class Node:
    """What one machine of a cluster offers."""

    cpus: float
    gpus: float


@dataclass(frozen=True, slots=True)
class Crew:
    """The workers a job asks a cluster for.

    ``cpus`` and ``gpus`` are those of one worker; ``room`` says how many such
    workers the machines that are up now hold, ``worker_count`` how many are asked for.
    """

    worker_count: int
    cpus: int
    gpus: float
    room: int


def fit_crew(nodes: Sequence[Node], worker_count: int | None, gpus_per_worker: float) -> Crew:
    """Give each worker as many cores as leave room for all workers.

    Parameters
    ----------
    nodes
        The machines that are up.
    worker_count
        As asked for; None takes one worker for each ``gpus_per_worker`` accelerators, or without any one for each machine.
    gpus_per_worker
        Accelerators, or a share of one, that a worker holds.

    Raises
    ------
    ResourceError
        Not one worker has room.
    """

    def room(cpus: int) -> int:
        by_cpus = [int(node.cpus // cpus) for node in nodes]
        if not gpus_per_worker:
            return sum(by_cpus)
        # the small addend: 0.3 / 0.1 is a little less than 3
        by_gpus = [int(node.gpus / gpus_per_worker + 1e-6) for node in nodes]
        return sum(map(min, by_cpus, by_gpus))

    if room(1) == 0:
        found = (
            ", ".join(f"{node.cpus:g} cores and {node.gpus:g} GPUs" for node in nodes) or "no node"
        )
        raise ResourceError(
            f"--engine ray: expected a node with a core and {gpus_per_worker:g} GPUs for a worker, found {found}",
            remedy="Add nodes (ray start --address=HEAD:6379), or ask for fewer --gpus-per-worker.",
        )
    wanted = worker_count or (room(1) if gpus_per_worker else sum(node.cpus >= 1 for node in nodes))
    most = int(max(node.cpus for node in nodes))
    cpus = next((cpus for cpus in range(most, 0, -1) if room(cpus) >= wanted), 1)
    return Crew(wanted, cpus, gpus_per_worker, room(cpus))
