"""When a training on a cluster starts afresh, and when it gives up; no cluster is needed for it."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path

import pytest

from crossan.cache_schema.errors import DataError, ResourceError, UsageError
from crossan.common.cluster import ClusterRequest, Crew, Failure
from crossan.train.cluster import engine as ray_engine
from crossan.train.cluster.worker import RankOutcome, RankTask, RankWorker
from crossan.train.runs.launch import Launch
from crossan.train.settings import RunSettings

LOST = RankOutcome(
    failure=Failure("ResourceError", "another rank cannot be reached", None), has_lost_another=True
)
BAD = RankOutcome(failure=Failure.of(DataError("two items have no modality")))


def task_of(out, **changed):
    facts = {
        "launch": Launch(device="cpu"),
        "rank_count": 2,
        "threads": 1,
        "folder": Path("/"),
        "command": ["crossan-train"],
        "version": "0.1.0",
    }
    settings = RunSettings.model_validate({"data": {"dataset": "d", "cache": "c"}})
    return RankTask(settings=settings, out=out, **(facts | changed))


@pytest.fixture
def attempts(monkeypatch):
    """Return a function that makes each attempt end in a result, or be lost where that is a text; the tasks are kept."""

    def end_in(*ends):
        tasks, left = [], list(ends)

        class Attempt:
            def result(self):
                end = left.pop(0)
                if isinstance(end, str):
                    raise ray_engine._LostError(end)
                return end

        @contextmanager
        def hired(ray, crew, task):
            tasks.append(task)
            yield Attempt()

        monkeypatch.setattr(ray_engine, "_hired", hired)
        return tasks

    return end_in


def test_every_lost_worker_is_a_fresh_start_from_the_last_checkpoint(attempts, tmp_path, capsys):
    tasks = attempts("rank 1 was lost: a", "rank 0 was lost: b", {"epochs": 3})
    assert ray_engine._train(None, Crew(2, 1, 0, 2), task_of(tmp_path / "r")) == {"epochs": 3}
    assert [task.launch.may_resume for task in tasks] == [False, True, True]
    said = capsys.readouterr().err.splitlines()
    end = "; all ranks start afresh from the last checkpoint"
    assert said == [
        f"rank 1 was lost: a{end} (1 of at most 3 times)",
        f"rank 0 was lost: b{end} (2 of at most 3 times)",
    ]


def test_after_four_lost_workers_the_training_is_given_up(attempts, tmp_path):
    tasks = attempts(*(f"rank 0 was lost: {number}" for number in range(9)))
    with pytest.raises(
        ResourceError, match="workers were lost 4 times; the last time: rank 0 was lost: 3"
    ):
        ray_engine._train(None, Crew(2, 1, 0, 2), task_of(tmp_path / "r"))
    assert len(tasks) == 4


def test_a_run_that_was_there_before_is_not_gone_on_with_unasked(attempts, tmp_path):
    (tmp_path / "config.toml").touch()
    tasks = attempts("rank 0 was lost: early", {})
    ray_engine._train(None, Crew(2, 1, 0, 2), task_of(tmp_path))
    assert [task.launch.may_resume for task in tasks] == [False, False]


@pytest.fixture
def attempt(tmp_path):
    from types import SimpleNamespace

    errors = (
        "RayActorError",
        "WorkerCrashedError",
        "NodeDiedError",
        "OutOfMemoryError",
        "ObjectLostError",
    )
    ray = SimpleNamespace(exceptions=SimpleNamespace(**dict.fromkeys(errors, OSError)))
    return ray_engine._Attempt(ray, [], task_of(tmp_path))


def test_an_error_that_every_attempt_would_meet_comes_before_a_lost_rank(attempt):
    with pytest.raises(DataError, match="two items have no modality"):
        attempt._judge({0: LOST, 1: BAD}, "rank 2 was lost: killed")


@pytest.mark.parametrize(
    ("outcomes", "lost", "message"),
    [
        (
            {0: LOST, 1: RankOutcome(has_lost_another=True)},
            "rank 1 was lost: killed",
            "rank 1 was lost: killed",
        ),
        ({0: LOST, 1: LOST}, "", "another rank cannot be reached"),
        ({1: RankOutcome(result={})}, "", "a rank does not answer"),
    ],
)
def test_a_rank_that_is_gone_is_a_lost_attempt(attempt, outcomes, lost, message):
    with pytest.raises(ray_engine._LostError, match=message):
        attempt._judge(outcomes, lost)


def test_the_result_is_the_first_ranks(attempt):
    assert attempt._judge(
        {0: RankOutcome(result={"epochs": 1}), 1: RankOutcome(result={})}, ""
    ) == {"epochs": 1}


@pytest.mark.parametrize(
    ("device", "gpus", "message"),
    [
        ("auto", 0.5, "--gpus-per-worker 0.5: a rank computes on one whole accelerator"),
        ("cuda", 0, "--device cuda --engine ray: expected auto or cpu with 0 accelerators a rank"),
        ("cpu", 1, "--device cpu --engine ray: expected auto or cuda with 1 accelerators a rank"),
    ],
)
def test_devices_that_no_rank_would_have_are_refused(tmp_path, device, gpus, message):
    cluster = ClusterRequest(gpus_per_worker=gpus)
    settings = task_of(tmp_path).settings
    with pytest.raises(UsageError, match=message):
        ray_engine.train_on_cluster(settings, tmp_path, cluster, Launch(device=device))
    assert ray_engine._device("auto", 1) == "cuda:0"
    assert ray_engine._device("auto", 0) == "cpu"


def test_another_version_of_crossan_on_a_node_is_refused(tmp_path):
    worker = RankWorker(task_of(tmp_path, version="0.0.0"))
    failure = worker.open_meeting()
    assert failure.error().exit_code == 5
    assert "expected crossan 0.0.0, as where the training was started" in failure.message
    assert worker.train(1, None).failure == failure


def test_whole_lines_are_passed_on_once(tmp_path):
    worker = RankWorker(task_of(tmp_path))
    worker._said.write("one\ntwo\nthr")
    assert worker.said() == ["one", "two"]
    worker._said.write("ee\n")
    assert (worker.said(), worker.said()) == (["three"], [])
