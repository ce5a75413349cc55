"""How a job is cut into tasks, and how many workers a cluster holds: pure functions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from crossan.cache_schema.errors import ResourceError
from crossan.extract.job.plan import Shard

__all__ = ["Crew", "Node", "Task", "cut_tasks", "fit_crew", "task_count"]

_SMALLEST_TASK = 128
_TASKS_OF_A_MIDDLING_JOB = 64
_LARGEST_TASK = 8_192


@dataclass(frozen=True, slots=True)
class Task:
    """One shard of the batch plan, and about how many items it has, done or not."""

    shard: Shard
    item_count: int


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


def task_count(item_count: int) -> int:
    """Return into how many tasks ``item_count`` items are cut.

    Tasks of 128 items for a small job, 64 tasks from 8,192 items on, tasks of
    8,192 items from half a million on: several for each worker, yet each task
    reads the lists of dataset and store once. The number of workers has no part
    in it, so another crew goes on with what the last one left.
    """
    small = min(_TASKS_OF_A_MIDDLING_JOB, math.ceil(item_count / _SMALLEST_TASK))
    return max(small, math.ceil(item_count / _LARGEST_TASK))


def cut_tasks(item_count: int) -> list[Task]:
    """Cut a job of ``item_count`` items, at least one, into tasks.

    Which items a task has follows from the batch size, which a worker settles;
    each is told its even share, for the progress. A job of fewer batches than
    tasks leaves some tasks without items.
    """
    count = task_count(item_count)
    share, rest = divmod(item_count, count)
    return [Task(Shard(number, count), share + (number <= rest)) for number in range(1, count + 1)]


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
        found = ", ".join(f"{node.cpus:g} cores and {node.gpus:g} GPUs" for node in nodes) or "no node"
        raise ResourceError(
            f"--engine ray: expected a node with a core and {gpus_per_worker:g} GPUs for a worker, found {found}",
            remedy="Add nodes (ray start --address=HEAD:6379), or ask for fewer --gpus-per-worker.",
        )
    wanted = worker_count or (room(1) if gpus_per_worker else sum(node.cpus >= 1 for node in nodes))
    most = int(max(node.cpus for node in nodes))
    cpus = next((cpus for cpus in range(most, 0, -1) if room(cpus) >= wanted), 1)
    return Crew(wanted, cpus, gpus_per_worker, room(cpus))
