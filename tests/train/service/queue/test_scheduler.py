"""The queue at work, with tiny programs."""

from __future__ import annotations

import os
import signal
import threading
import time
from itertools import pairwise

import pytest

from crossan.cache_schema.errors import BusyError, UsageError
from crossan.train.service.queue import State, Step
from crossan.train.service.queue.attempts import list_attempts
from support.queued import Queue, TinySteps, add, add_night
from support.started import wait_until

FOREVER = "import time; print('up', flush=True); time.sleep(1000)"


@pytest.fixture
def queue(tmp_path):
    opened = Queue(tmp_path / "service").start()
    yield opened
    opened.cancel_all()
    opened.close()


def test_a_run_succeeds_with_what_its_step_concludes(queue):
    run = queue.wait(queue.submit("print('done')"))
    assert (run.state, run.attempt, run.exit_code) == (State.SUCCEEDED, 1, 0)
    assert run.result == {"attempt": 1}
    assert run.created < run.started <= run.ended
    assert (queue.attempt(run.id) / "output.log").read_text() == "done\n"
    (attempt,) = queue.database.read(lambda connection: list_attempts(connection, run.id))
    assert (attempt.executor, attempt.outcome.reason) == ("local", "exited")
    assert queue.steps.concluded == [(run.id, 1, attempt.outcome)]


def test_an_exit_code_that_would_come_again_is_not_tried_again(queue):
    run = queue.wait(queue.submit("import sys; print('ConfigError: no'); sys.exit(2)"))
    assert (run.state, run.attempt, run.exit_code) == (State.FAILED, 1, 2)
    assert run.reason == "ConfigError: no"


def test_a_killed_worker_is_tried_again_at_once(queue):
    program = (
        "import os, time; path = '../first'\n"
        "if not os.path.exists(path):\n"
        "    open(path, 'w').close(); os.kill(os.getpid(), 9)"
    )
    run = queue.wait(queue.submit(program))
    assert (run.state, run.attempt) == (State.SUCCEEDED, 2)
    first, second = queue.database.read(lambda connection: list_attempts(connection, run.id))
    assert (first.outcome.exit_code, second.outcome.exit_code) == (-9, 0)
    assert second.started - first.ended < 5.0


def test_three_attempts_are_all_there_are(queue):
    run = queue.wait(queue.submit("import os; os.kill(os.getpid(), 9)"))
    assert (run.state, run.attempt, run.exit_code) == (State.FAILED, 3, -9)
    assert run.reason == "attempt 3 was killed by SIGKILL"


def test_no_more_run_at_once_than_there_are_slots(tmp_path):
    queue = Queue(tmp_path / "service", cpus=2)
    program = (
        "import os, time; os.mkdir('../../../' + os.environ['RUN'] + '.on');"
        "print(sum(n.endswith('.on') for n in os.listdir('../../..'))); time.sleep(0.3);"
        "os.rmdir('../../../' + os.environ['RUN'] + '.on')"
    )
    runs = [queue.submit(program) for _ in range(6)]
    queue.start()
    assert [queue.wait(run).state for run in runs] == [State.SUCCEEDED] * 6
    counts = [int((queue.attempt(run) / "output.log").read_text()) for run in runs]
    assert max(counts) == 2
    assert queue.scheduler.counts().used.cpus == 0
    queue.close()


def test_each_run_gets_gpus_of_its_own(tmp_path):
    queue = Queue(tmp_path / "service", gpus=3)
    program = "import os, time; print(os.environ['CUDA_VISIBLE_DEVICES']); time.sleep(1)"
    runs = [queue.submit(program, limits={"gpus": count}) for count in (2, 1, 0)]
    queue.start()
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


def test_an_error_of_a_step_of_the_server_fails_it_and_a_refusal_of_the_system_does_so_thrice(
    tmp_path,
):
    calls = []

    def refuse(run):
        calls.append(run.attempt)
        raise BusyError("held by another")

    def err(run):
        raise UsageError("no such model", remedy="crossan models ls")

    def fall(run):
        raise ZeroDivisionError("a bug")

    queue = Queue(tmp_path / "service", steps=TinySteps(refuse=refuse, err=err, fall=fall))
    runs = [queue.submit(server=name) for name in ("refuse", "err", "fall")]
    queue.start()
    ended = [queue.wait(run) for run in runs]
    assert [run.state for run in ended] == [State.FAILED] * 3
    assert [run.attempt for run in ended] == [3, 1, 1]
    assert ended[1].reason == "no such model\n  crossan models ls"
    assert ended[2].reason == "internal error: ZeroDivisionError: a bug"
    assert calls == [0, 1, 2]
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


def test_what_the_system_ended_is_no_cancellation(queue):
    program = (
        "import os, time; path = '../first'\n"
        "if not os.path.exists(path):\n    open(path, 'w').close(); time.sleep(1000)"
    )
    run_id = queue.submit(program)
    wait_until(lambda: (queue.folder.run(run_id) / "first").exists(), "the program")
    live = queue.scheduler._running._lives[run_id]
    queue.executor.stop(live.attempt, live.handle)
    assert (queue.wait(run_id).state, queue.run(run_id).attempt) == (State.SUCCEEDED, 2)


def test_a_new_server_adopts_what_goes_on_and_finds_what_ended_meanwhile(tmp_path):
    queue = Queue(tmp_path / "service").start()
    short = "import os, time\nwhile not os.path.exists('../go'): time.sleep(0.05)"
    ends, goes_on = queue.submit(short), queue.submit(FOREVER)
    for run_id in (ends, goes_on):
        queue.wait(run_id, State.RUNNING)
        wait_until((queue.attempt(run_id) / "output.log").exists, "the shim")
    queue.close()
    (queue.folder.run(ends) / "go").touch()
    wait_until((queue.attempt(ends) / "outcome.json").exists, "the end")
    queue.open()
    queue.start()
    assert queue.wait(ends).state is State.SUCCEEDED
    assert queue.run(goes_on).state is State.RUNNING
    assert queue.scheduler.counts().used.cpus == 1
    queue.scheduler.cancel(goes_on, "ann")
    run = queue.wait(goes_on)
    assert (run.state, run.attempt) == (State.CANCELLED, 1)
    queue.close()


def test_a_new_server_tries_again_what_died_meanwhile(tmp_path):
    queue = Queue(tmp_path / "service").start()
    program = (
        "import os, time; path = '../first'\n"
        "if not os.path.exists(path):\n    open(path, 'w').close(); time.sleep(1000)"
    )
    run_id = queue.submit(program)
    wait_until((queue.folder.run(run_id) / "first").exists, "the program")
    live = queue.scheduler._running._lives[run_id]
    queue.close()
    import json

    os.kill(json.loads(live.handle)["pid"], signal.SIGKILL)
    queue.open()
    queue.start()
    assert (queue.wait(run_id).state, queue.run(run_id).attempt) == (State.SUCCEEDED, 2)
    queue.close()


def test_a_step_of_the_server_is_done_again_after_a_restart(tmp_path):
    begun, may_end = threading.Event(), threading.Event()

    def work(run):
        begun.set()
        assert may_end.wait(60)
        return {"attempt": run.attempt}

    queue = Queue(tmp_path / "service", steps=TinySteps(work=work)).start()
    run_id = queue.submit(server="work")
    assert begun.wait(60)
    # As if the server had been killed: nobody records the end.
    queue.scheduler._is_stopping.set()
    queue.scheduler._thread.join()
    queue.open()
    may_end.set()
    queue.start()
    run = queue.wait(run_id)
    assert (run.state, run.attempt, run.result) == (State.SUCCEEDED, 1, {"attempt": 0})
    queue.close()


def test_a_run_of_another_executor_is_left_alone(tmp_path):
    queue = Queue(tmp_path / "service").start()
    run_id = queue.submit(FOREVER)
    queue.wait(run_id, State.RUNNING)
    queue.close()
    queue.open()
    queue.scheduler._running._executor.name = "elsewhere"
    with pytest.raises(UsageError, match=f"run {run_id} goes on with executor=local"):
        queue.scheduler.start()
    queue.scheduler._running._executor.name = "local"
    queue.start()
    queue.scheduler.cancel(run_id, "ann")
    queue.wait(run_id)
    queue.close()


def test_a_late_end_of_an_earlier_attempt_changes_nothing(tmp_path):
    from crossan.train.service.queue.attempts import begin_attempt, requeue
    from crossan.train.service.queue.ends import end_run
    from crossan.train.service.queue.steps import Conclusion

    heard = []
    queue = Queue(tmp_path / "service")
    run_id = queue.submit()

    def begin(connection):
        from crossan.train.service.queue.rows import get_run

        return begin_attempt(connection, get_run(connection, run_id), "local", (), 1.0)

    def end(connection, run, result):
        conclusion = Conclusion(State.SUCCEEDED, result={"of": result})
        listener = [lambda _, run: heard.append(run.result["of"])]
        return end_run(connection, run, conclusion, 0, 2.0, listener)

    first = queue.database.write(begin)
    assert queue.database.write(lambda connection: requeue(connection, first, "it was lost"))
    assert not queue.database.write(lambda connection: end(connection, first, "first"))
    second = queue.database.write(begin)
    assert not queue.database.write(lambda connection: end(connection, first, "first"))
    assert not queue.database.write(lambda connection: requeue(connection, first, "again"))
    assert queue.database.write(lambda connection: end(connection, second, "second"))
    assert not queue.database.write(lambda connection: end(connection, second, "twice"))
    assert queue.run(run_id).result == {"of": "second"}
    assert heard == ["second"]
    queue.close()


def test_the_clock_may_jump_without_stalling_anything(tmp_path):
    now = [1_000_000.0]
    queue = Queue(tmp_path / "service", clock=lambda: now[0]).start()
    queue.wait(queue.submit())
    for jump in (-86_400.0, +86_400.0 * 400):
        now[0] += jump
        begun = time.monotonic()
        run = queue.wait(queue.submit())
        assert run.state is State.SUCCEEDED
        assert time.monotonic() - begun < 30.0
    queue.close()


def test_a_full_disk_marks_nothing_and_the_queue_goes_on_when_there_is_room(tmp_path):
    from crossan.train.service.database import DiskFullError

    queue = Queue(tmp_path / "service").start()
    first = queue.submit("import os, time\nwhile not os.path.exists('../go'): time.sleep(0.05)")
    queue.wait(first, State.RUNNING)
    second = queue.submit()
    write = queue.database.write
    queue.wait(second)
    refused = threading.Event()

    def refuse(work):
        refused.set()
        raise DiskFullError("no space is left")

    queue.database.write = refuse
    (queue.folder.run(first) / "go").touch()
    assert refused.wait(60)
    assert queue.run(first).state is State.RUNNING
    queue.database.write = write
    run = queue.wait(first)
    assert (run.state, run.attempt) == (State.SUCCEEDED, 1)
    queue.close()


def test_an_attempt_that_cannot_be_started_is_not_counted(tmp_path):
    from crossan.cache_schema.errors import ResourceError
    from crossan.train.service.executors import LocalExecutor

    class Refusing(LocalExecutor):
        refusals = 3

        def start(self, attempt, job):
            if self.refusals:
                self.refusals -= 1
                raise ResourceError("no process is left")
            return super().start(attempt, job)

    executor = Refusing()
    queue = Queue(tmp_path / "service", executor=executor).start()
    run = queue.wait(queue.submit())
    assert (run.state, run.attempt, executor.refusals) == (State.SUCCEEDED, 1, 0)
    queue.close()


def test_a_bug_in_a_plan_or_a_conclusion_fails_one_run_alone(tmp_path):
    class Buggy(TinySteps):
        def plan(self, run):
            if "bug" in run.spec:
                raise KeyError("plan")
            return super().plan(run)

        def conclude(self, run, outcome):
            if "late" in run.spec:
                raise KeyError("conclusion")
            return super().conclude(run, outcome)

    queue = Queue(tmp_path / "service", steps=Buggy()).start()
    runs = [queue.submit(bug=1), queue.submit(late=1), queue.submit()]
    ends = [queue.wait(run) for run in runs]
    assert [run.state for run in ends] == [State.FAILED, State.FAILED, State.SUCCEEDED]
    assert ends[0].reason == "internal error: KeyError: 'plan'"
    assert ends[1].reason == "internal error: KeyError: 'conclusion'"
    queue.close()


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
