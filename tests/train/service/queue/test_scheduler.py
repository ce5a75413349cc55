"""The queue at work, with tiny programs."""

from __future__ import annotations

from itertools import pairwise

import pytest

from crossan.cache_schema.errors import UsageError
from crossan.train.service.queue import State, Step
from crossan.train.service.queue.attempts import list_attempts
from crossan.train.service.queue.choosing import activity_of
from support.queued import Queue, TinySteps, add, add_night
from support.started import wait_until

FOREVER = "import time; print('up', flush=True); time.sleep(1000)"


def test_a_run_succeeds_with_what_its_step_concludes(queue):
    run = queue.wait(queue.submit("print('done')"))
    assert (run.state, run.attempt, run.exit_code) == (State.SUCCEEDED, 1, 0)
    assert run.result == {"attempt": 1}
    assert run.created < run.started <= run.ended
    assert (queue.attempt(run.id) / "output.log").read_text() == "done\n"
    (attempt,) = queue.database.read(lambda connection: list_attempts(connection, run.id))
    assert (attempt.executor, attempt.outcome.reason) == ("local", "exited")
    assert queue.steps.concluded == [(run.id, 1, attempt.outcome)]


def test_no_more_run_at_once_than_there_are_slots(tmp_path):
    queue = Queue(tmp_path / "service", cpus=2)
    # The first two wait for each other, so they end only where both run at once.
    program = (
        "import os, time; run = int(os.environ['RUN']); os.chdir('../../..')\n"
        "os.mkdir(f'{run}.on'); print(sum(name.endswith('.on') for name in os.listdir()))\n"
        "os.mkdir(f'{run}.was'); other = {1: 2, 2: 1}.get(run, run)\n"
        "while not os.path.exists(f'{other}.was'): time.sleep(0.02)\n"
        "os.rmdir(f'{run}.on')"
    )
    runs = [queue.submit(program) for _ in range(6)]
    queue.start()
    assert [queue.wait(run).state for run in runs] == [State.SUCCEEDED] * 6
    counts = [int((queue.attempt(run) / "output.log").read_text()) for run in runs]
    assert max(counts) == 2
    # A run is recorded a moment before its slot is free again.
    wait_until(lambda: queue.scheduler.counts().used.cpus == 0, "the slots to be free")
    queue.close()


def test_each_run_gets_gpus_of_its_own(tmp_path):
    queue = Queue(tmp_path / "service", gpus=3)
    # None ends before all have begun, so none may get what another had.
    program = (
        "import os, time; print(os.environ['CUDA_VISIBLE_DEVICES'], flush=True)\n"
        "while not os.path.exists('../../../go'): time.sleep(0.02)"
    )
    runs = [queue.submit(program, limits={"gpus": count}) for count in (2, 1, 0)]
    queue.start()
    for run in runs:
        queue.wait(run, State.RUNNING)
    (queue.folder.path / "go").touch()
    for run in runs:
        queue.wait(run)
    shown = [(queue.attempt(run) / "output.log").read_text().strip() for run in runs]
    assert sorted([*shown[0].split(","), shown[1]]) == ["0", "1", "2"]
    assert shown[2] == ""
    queue.close()


def test_a_run_that_can_never_fit_fails_and_says_why(queue):
    run = queue.wait(queue.submit(limits={"cpus": 5}))
    assert run.state is State.FAILED
    assert run.reason.startswith("limits.cpus: expected at most 4")
    assert run.reason.endswith("found 5")


def test_a_step_may_be_refused_skipped_or_done_by_the_server(tmp_path):
    queue = Queue(
        tmp_path / "service", steps=TinySteps(double=lambda run: {"n": 2 * run.spec["n"]})
    )
    refused, skipped = queue.submit(refuse="no such dataset"), queue.submit(skip="all is new")
    done = queue.submit(server="double", n=21)
    queue.start()
    run = queue.wait(refused)
    assert (run.state, run.reason, run.attempt) == (State.FAILED, "no such dataset", 0)
    run = queue.wait(skipped)
    assert (run.state, run.reason) == (State.SKIPPED, "all is new")
    run = queue.wait(done)
    assert (run.state, run.result) == (State.SUCCEEDED, {"n": 42})
    queue.close()


def test_a_step_of_the_server_waits_for_no_slot(tmp_path):
    queue = Queue(tmp_path / "service", cpus=1, steps=TinySteps(work=lambda run: {}))
    busy, waiting = queue.submit(FOREVER), queue.submit(FOREVER)
    queue.start().wait(busy, State.RUNNING)
    assert queue.wait(queue.submit(server="work")).state is State.SUCCEEDED
    assert queue.run(waiting).state is State.QUEUED
    queue.scheduler.cancel(waiting, "t")
    queue.scheduler.cancel(busy, "t")
    queue.wait(busy)
    queue.close()


def test_small_runs_pass_a_large_one_until_its_patience_ends(tmp_path, monkeypatch):
    queue = Queue(tmp_path / "service", cpus=2).start()
    waits = "import os, time\nwhile not os.path.exists('../go'): time.sleep(0.05)"
    first = queue.submit(waits)
    queue.wait(first, State.RUNNING)
    large = queue.submit(limits={"cpus": 2})
    assert queue.wait(queue.submit()).state is State.SUCCEEDED
    assert queue.run(large).state is State.QUEUED
    monkeypatch.setattr("crossan.train.service.queue.choosing.PATIENCE_SECONDS", 0.0)
    late = queue.submit()
    queue.scheduler.wake()
    (queue.folder.run(first) / "go").touch()
    ended = [queue.wait(run) for run in (first, large, late)]
    assert all(one.ended <= other.started for one, other in pairwise(ended))
    queue.close()


@pytest.fixture
def whole_looks(monkeypatch):
    """Have the whole queue looked at for a reason alone; return a list that grows with each look."""
    looks = []

    def counted(connection):
        looks.append(connection)
        return activity_of(connection)

    monkeypatch.setattr("crossan.train.service.queue.scheduler.activity_of", counted)
    monkeypatch.setattr("crossan.train.service.queue.scheduler._IDLE_SECONDS", 1000.0)
    return looks


def test_a_submission_costs_a_look_at_itself(tmp_path, whole_looks):
    planned = []

    class Watched(TinySteps):
        def plan(self, run):
            planned.append(run.id)
            return super().plan(run)

    queue = Queue(tmp_path / "service", cpus=2, steps=Watched()).start()
    first = queue.submit(FOREVER)
    queue.wait(first, State.RUNNING)
    before = len(whole_looks)
    waiting = [queue.submit(limits={"cpus": 2}) for _ in range(10)]
    wait_until(lambda: waiting[-1] in planned, "the last one was looked at")
    small = queue.submit()
    queue.wait(small, State.RUNNING, State.SUCCEEDED)
    assert len(whole_looks) <= before + 1  # the small one may have ended by now
    assert {queue.run(run).state for run in waiting} == {State.QUEUED}
    queue.cancel_all()
    queue.close()


def test_what_waits_begins_once_a_run_has_ended_or_is_cancelled(tmp_path, whole_looks):
    queue = Queue(tmp_path / "service", cpus=1).start()
    running, waiting = queue.submit(FOREVER), queue.submit(FOREVER)
    queue.wait(running, State.RUNNING)
    queue.scheduler.cancel(running, "t")
    queue.wait(waiting, State.RUNNING)
    needed = queue.submit()
    needing = queue.database.write(lambda connection: add(connection, needs=needed))
    queue.scheduler.wake()
    queue.scheduler.cancel(waiting, "t")
    assert queue.wait(needing).state is State.SUCCEEDED
    assert whole_looks
    queue.close()


def test_what_needs_a_run_comes_after_it_or_not_at_all(queue):
    def chain(connection, first):
        runs = [add(connection, first)]
        for _ in range(3):
            runs.append(add(connection, needs=runs[-1]))
        return runs

    good = queue.database.write(lambda connection: chain(connection, ""))
    bad = queue.database.write(lambda connection: chain(connection, "import sys; sys.exit(2)"))
    queue.scheduler.wake()
    ends = [queue.wait(run) for run in good]
    assert [run.state for run in ends] == [State.SUCCEEDED] * 4
    assert all(one.ended <= other.started for one, other in pairwise(ends))
    ends = [queue.wait(run) for run in bad]
    assert [run.state for run in ends] == [State.FAILED] + [State.SKIPPED] * 3
    assert {run.reason for run in ends[1:]} == {f"needs run {bad[0]}, which failed"}
    late = queue.submit(needs=bad[2])
    assert queue.wait(late).reason == f"needs run {bad[0]}, which failed"


def test_what_needs_a_skipped_run_is_done(queue):
    first = queue.submit(skip="nothing to do")
    assert queue.wait(queue.submit(needs=first)).state is State.SUCCEEDED


def test_listeners_hear_of_each_end_once_within_its_transaction(tmp_path):
    heard = []

    def listen(connection, run):
        heard.append((run.id, run.state))
        if run.spec.get("chained"):
            add(connection, "print('chained')", label=str(run.id))

    queue = Queue(tmp_path / "service", listeners=[listen]).start()
    first = queue.submit(chained=True)
    queue.wait(first)
    queue.wait(first + 1)
    cancelled = queue.submit(limits={"cpus": 5})
    queue.wait(cancelled)
    assert heard == [(1, State.SUCCEEDED), (2, State.SUCCEEDED), (3, State.FAILED)]
    queue.close()


def test_a_waiting_or_queued_run_is_cancelled_at_once_with_all_that_needs_it(tmp_path):
    queue = Queue(tmp_path / "service")
    first = queue.submit()
    second, third = queue.submit(needs=first), queue.submit(needs=first + 1)
    assert queue.scheduler.cancel(second, "ann").state is State.CANCELLED
    assert queue.run(third).state is State.SKIPPED
    assert queue.run(third).reason == f"needs run {second}, which was cancelled"
    assert queue.scheduler.cancel(first, "ann").reason == "cancelled by ann"
    assert queue.scheduler.cancel(first, "bob").reason == "cancelled by ann"
    with pytest.raises(UsageError, match="no such run"):
        queue.scheduler.cancel(99, "ann")
    queue.close()


def test_a_running_run_is_stopped_with_its_processes(queue):
    run_id = queue.submit(FOREVER)
    wait_until(lambda: (queue.attempt(run_id) / "output.log").exists(), "the program")
    assert queue.scheduler.cancel(run_id, "ann").state is State.STOPPING
    run = queue.wait(run_id)
    assert (run.state, run.reason, run.attempt) == (State.CANCELLED, "cancelled by ann", 1)
    assert queue.steps.concluded == []


def test_two_nights_do_not_write_one_dataset_at_once(tmp_path):
    queue = Queue(tmp_path / "service")

    def chain(connection):
        runs = []
        for _ in range(2):
            night = add_night(connection)
            update = add(connection, step=Step.UPDATE, night=night)
            runs += [
                update,
                add(connection, "import time; time.sleep(0.5)", night=night, needs=update),
            ]
        return runs

    runs = queue.database.write(chain)
    queue.start()
    ends = [queue.wait(run) for run in runs]
    assert ends[1].ended <= ends[2].started
    queue.close()
