"""How many workers a cluster holds, as a pure function."""

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

    ``cpus`` and ``gpus`` are those of one worker. ``room`` says how many such workers
    the machines that are up now hold, ``worker_count`` how many the job requests.
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
        How many the user requested. None takes one for each ``gpus_per_worker``
        accelerators, or one for each machine where a worker holds no accelerator.
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
        # 0.3 / 0.1 is a little less than 3: the small addend keeps the third worker.
        by_gpus = [int(node.gpus / gpus_per_worker + 1e-6) for node in nodes]
        return sum(map(min, by_cpus, by_gpus))

    if room(1) == 0:
        offers = [f"{node.cpus:g} cores and {node.gpus:g} GPUs" for node in nodes]
        raise ResourceError(
            "--engine ray: expected a node with a core and "
            f"{gpus_per_worker:g} GPUs for a worker, found {', '.join(offers) or 'no node'}",
            remedy="Add nodes (ray start --address=HEAD:6379), or use fewer --gpus-per-worker",
        )
    if not worker_count:
        worker_count = room(1) if gpus_per_worker else sum(node.cpus >= 1 for node in nodes)
    most = int(max(node.cpus for node in nodes))
    # The largest share that leaves room for all of them. Where one core each is too much already,
    # the workers without room wait for it.
    cpus = next((cpus for cpus in range(most, 0, -1) if room(cpus) >= worker_count), 1)
    return Crew(worker_count, cpus, gpus_per_worker, room(cpus))
