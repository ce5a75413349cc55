"""How a job is cut: by arithmetic that can be done by hand."""

from __future__ import annotations

import pytest

from crossan.extract.cluster.tasks import cut_tasks, task_count


@pytest.mark.parametrize(
    ("items", "tasks"),
    [
        (1, 1),
        (128, 1),
        (129, 2),
        (8_192, 64),
        (19_738, 64),
        (524_288, 64),
        (524_289, 65),
        (1_000_000, 123),
    ],
)
def test_the_number_of_tasks_depends_on_the_items_alone(items, tasks):
    assert task_count(items) == tasks


@pytest.mark.parametrize(
    ("items", "shares"), [(1, [1]), (129, [65, 64]), (400, [100] * 4), (401, [101, 100, 100, 100])]
)
def test_tasks_are_all_the_shards_with_even_shares(items, shares):
    tasks = cut_tasks(items)
    assert [task.item_count for task in tasks] == shares
    assert [str(task.shard) for task in tasks] == [
        f"{number + 1}/{len(shares)}" for number in range(len(shares))
    ]
