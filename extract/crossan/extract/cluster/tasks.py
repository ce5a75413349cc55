"""Cut a job into tasks."""

from __future__ import annotations

import math
from dataclasses import dataclass

from crossan.extract.job.plan import Shard

__all__ = ["ClusterTask", "cut_tasks", "task_count"]

_SMALLEST_TASK = 128
_TASKS_OF_A_MIDDLING_JOB = 64
_LARGEST_TASK = 8_192


@dataclass(frozen=True, slots=True)
class ClusterTask:
    """One shard of the batch plan, for one worker."""

    shard: Shard
    item_count: int
    """About how many items it has, done or not."""


def task_count(item_count: int) -> int:
    """Return into how many tasks ``item_count`` items are cut.

    A small job has tasks of 128 items, one of 8,192 items or more has 64 tasks,
    and one of more than half a million has tasks of 8,192 items. That makes
    several tasks for each worker, but not so many that reading the lists of
    dataset and store, once for each task, would count.
    """
    # The number of workers does not count, so that another crew can continue with the same tasks.
    small = min(_TASKS_OF_A_MIDDLING_JOB, math.ceil(item_count / _SMALLEST_TASK))
    return max(small, math.ceil(item_count / _LARGEST_TASK))


def cut_tasks(item_count: int) -> list[ClusterTask]:
    """Cut a job of ``item_count`` items, at least one, into tasks.

    Which items a task has follows from the batch size, which a worker settles. Its
    ``item_count`` is therefore an even share, good enough for the progress. A job
    of fewer batches than tasks leaves some tasks without items.
    """
    count = task_count(item_count)
    share, rest = divmod(item_count, count)
    return [
        ClusterTask(Shard(number, count), share + (number <= rest))
        for number in range(1, count + 1)
    ]
