"""The crew's bookkeeping, on a cluster that is a dozen lines: calls run when they are waited for, and are lost on order."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from crossan.cache_schema.errors import DataError, IncompatibleError, ResourceError
from crossan.cache_schema.modality import Modality
from crossan.common.cluster import Crew, Failure
from crossan.extract.cluster.crew import HiredCrew
from crossan.extract.cluster.tasks import ClusterTask
from crossan.extract.cluster.worker import CallOutcome, Worker, WorkerSetup
from crossan.extract.job.plan import Shard
from crossan.extract.job.request import JobRequest
from crossan.extract.job.result import JobResult
from crossan.extract.media.faults import MediaError, MediaFault

TASKS = [ClusterTask(Shard(number, 5), 10) for number in range(1, 6)]


class LostError(Exception):
    pass


class FakeRay:
    """``outcome(task, attempt)`` is what a worker's call gives; a `LostError` in it is raised."""

    def __init__(self, outcome):
        self.outcome, self.attempts, self.killed, self.hired, self.calls = (
            outcome,
            Counter(),
            0,
            0,
            [],
        )
        self.exceptions = SimpleNamespace(
            **dict.fromkeys(
                ["RayActorError", "WorkerCrashedError", "NodeDiedError", "OutOfMemoryError", "ObjectLostError", "GetTimeoutError"],
                LostError,
            )
        )  # fmt: skip

    def remote(self, **options):
        def make(kind):
            return SimpleNamespace(remote=lambda *arguments: self._actor(kind))

        return make

    def _actor(self, kind):
        self.hired += kind is Worker
        methods = {
            "begin": self._begin,
            "extract": self._extract,
            "counts": lambda: [{}],
            "stop": lambda: [None],
        }
        return SimpleNamespace(
            **{name: SimpleNamespace(remote=method) for name, method in methods.items()}
        )

    def _begin(self):
        return _Reference(self.outcome(None, 0))

    def _extract(self, task, is_repair):
        self.attempts[task] += 1
        self.calls.append((task, is_repair))
        return _Reference(self.outcome(task, self.attempts[task]))

    def wait(self, references, num_returns, timeout):
        return references[:1], references[1:]

    def get(self, reference, timeout=None):
        value = reference[0] if isinstance(reference, list) else reference.value
        if isinstance(value, Exception):
            raise value
        return value

    def kill(self, actor):
        self.killed += 1


class _Reference:
    def __init__(self, value):
        self.value = value


def _done(task):
    result = JobResult(
        modality=Modality.TEXT, store=Path("s"), version=task.shard.number, fingerprint="f", item_count=50,
        statuses=Counter(), reasons=Counter(), forwarded=10, seconds=1.0,
    )  # fmt: skip
    return CallOutcome(result=result)


def _crew(ray, **options):
    request = JobRequest(dataset=Path("d"), cache=Path("c"), **options)
    setup = WorkerSetup(
        request=request,
        modality=Modality.TEXT,
        source=None,
        threads=1,
        mark=Path("m"),
        dataset_digest="",
        version="",
    )
    return HiredCrew(ray, Crew(2, 1, 0, 2), setup)


def test_a_lost_task_is_done_again_by_a_new_worker():
    def outcome(task, attempt):
        if task is None:
            return CallOutcome()
        return LostError("gone") if task == TASKS[2] and attempt < 4 else _done(task)

    ray = FakeRay(outcome)
    results = _crew(ray).do(TASKS)
    assert [result.version for result in results] == [1, 2, 3, 4, 5]
    assert ray.attempts == {**dict.fromkeys(TASKS, 1), TASKS[2]: 4}
    assert ray.hired == 2 + 2  # three were lost; after the last, one that was idle took the task
    assert ray.killed == ray.hired + 1  # and the board


def test_a_task_that_loses_four_workers_is_given_up():
    ray = FakeRay(
        lambda task, attempt: CallOutcome() if task is None else LostError("out of memory\nmore")
    )
    with pytest.raises(
        ResourceError, match=r"4 workers were lost over task \d/5; the last one: out of memory\n"
    ):
        _crew(ray).do(TASKS[:1])
    assert ray.killed >= ray.hired + 1


def test_workers_lost_while_they_begin_are_given_up_too():
    ray = FakeRay(lambda task, attempt: LostError("no library"))
    with pytest.raises(
        ResourceError, match="4 workers were lost over its beginning; the last one: no library"
    ):
        _crew(ray).do(TASKS)


def test_a_repair_is_done_by_one_task_before_the_others():
    ray = FakeRay(lambda task, attempt: CallOutcome() if task is None else _done(task))
    _crew(ray, is_repair=True).do(TASKS)
    assert ray.calls[0] == (TASKS[0], True)
    assert sorted(ray.calls[1:], key=str) == [(task, False) for task in TASKS[1:]]


def test_an_error_of_ours_is_the_same_on_the_other_side():
    error = IncompatibleError("canary mismatch", remedy="another cache")
    ray = FakeRay(
        lambda task, attempt: (
            CallOutcome() if task is None else CallOutcome(failure=Failure.of(error))
        )
    )
    with pytest.raises(IncompatibleError) as raised:
        _crew(ray).do(TASKS)
    assert str(raised.value) == str(error)
    assert raised.value.exit_code == 5
    # a class that only extract knows crosses as the nearest one with the same exit code
    assert type(Failure.of(MediaError(MediaFault.CORRUPT, "x")).error()) is DataError
