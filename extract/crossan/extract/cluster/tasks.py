"""How a job is cut into tasks: pure functions."""

from __future__ import annotations

import math
from dataclasses import dataclass

from crossan.extract.job.plan import Shard

__all__ = ["Task", "cut_tasks", "task_count"]

_SMALLEST_TASK = 128
_TASKS_OF_A_MIDDLING_JOB = 64
_LARGEST_TASK = 8_192


@dataclass(frozen=True, slots=True)
class Task:
    """One shard of the batch plan, and about how many items it has, done or not."""

    shard: Shard
    item_count: int


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
