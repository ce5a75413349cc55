"""Attempts that fail, and a system that refuses: what is tried again, and that nothing else is hurt."""

from __future__ import annotations

import threading

from crossan.cache_schema.errors import BusyError, ResourceError, UsageError
from crossan.train.service.database import DiskFullError
from crossan.train.service.executors import LocalExecutor
from crossan.train.service.queue import State
from crossan.train.service.queue.attempts import list_attempts
from support.queued import Queue, TinySteps
from support.started import CEILING_S, wait_until


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
    assert second.started - first.ended < CEILING_S


def test_three_attempts_are_all_there_are(queue):
    run = queue.wait(queue.submit("import os; os.kill(os.getpid(), 9)"))
    assert (run.state, run.attempt, run.exit_code) == (State.FAILED, 3, -9)
    assert run.reason == "attempt 3 was killed by SIGKILL"


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


def test_what_the_system_ended_is_no_cancellation(queue):
    program = (
        "import os, time; path = '../first'\n"
        "if not os.path.exists(path):\n    open(path, 'w').close(); time.sleep(1000)"
    )
    run_id = queue.submit(program)
    wait_until(lambda: (queue.folder.run(run_id) / "first").exists(), "the program")
    lives = queue.scheduler._running._lives
    # A program may be quicker than the note of its shim.
    wait_until(lambda: run_id in lives, "the note of the attempt")
    queue.executor.stop(lives[run_id].attempt, lives[run_id].handle)
    assert (queue.wait(run_id).state, queue.run(run_id).attempt) == (State.SUCCEEDED, 2)


def test_the_clock_may_jump_without_stalling_anything(tmp_path):
    now = [1_000_000.0]
    queue = Queue(tmp_path / "service", clock=lambda: now[0]).start()
    queue.wait(queue.submit())
    for jump in (-86_400.0, +86_400.0 * 400):
        now[0] += jump
        assert queue.wait(queue.submit()).state is State.SUCCEEDED
    queue.close()


def test_a_full_disk_marks_nothing_and_the_queue_goes_on_when_there_is_room(tmp_path):
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
    assert refused.wait(CEILING_S)
    assert queue.run(first).state is State.RUNNING
    queue.database.write = write
    run = queue.wait(first)
    assert (run.state, run.attempt) == (State.SUCCEEDED, 1)
    queue.close()


def test_an_attempt_that_cannot_be_started_is_not_counted(tmp_path):
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


def test_an_executor_that_does_not_answer_holds_back_no_other_run(tmp_path):
    class Forgetful(LocalExecutor):
        silent = None

        def look(self, attempt, handle):
            if attempt.run_id == self.silent:
                raise PermissionError("outcome.json")
            return super().look(attempt, handle)

    executor = Forgetful()
    queue = Queue(tmp_path / "service", executor=executor)
    first, second = queue.submit(), queue.submit()
    executor.silent = first
    queue.start()
    assert queue.wait(second).state is State.SUCCEEDED
    assert queue.wait(queue.submit()).state is State.SUCCEEDED
    assert queue.run(first).state is State.RUNNING
    executor.silent = None
    assert (queue.wait(first).state, queue.run(first).attempt) == (State.SUCCEEDED, 1)
    queue.close()
