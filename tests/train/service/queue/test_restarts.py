"""A new server takes up what an earlier one left, and each run ends once."""

from __future__ import annotations

import json
import os
import signal
import threading

import pytest

from crossan.cache_schema.errors import UsageError
from crossan.train.service.queue import State
from crossan.train.service.queue.attempts import begin_attempt, requeue
from crossan.train.service.queue.ends import Ends
from crossan.train.service.queue.rows import get_run
from crossan.train.service.queue.steps import Conclusion
from support.queued import Queue, TinySteps
from support.started import CEILING_S, wait_until

FOREVER = "import time; print('up', flush=True); time.sleep(1000)"


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
    # A run is recorded a moment before its slot is free again.
    wait_until(lambda: queue.scheduler.counts().used.cpus == 1, "the slot to be free")
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
    queue.close()
    shim = json.loads((queue.attempt(run_id) / "shim.json").read_text())
    os.kill(shim["pid"], signal.SIGKILL)
    queue.open()
    queue.start()
    assert (queue.wait(run_id).state, queue.run(run_id).attempt) == (State.SUCCEEDED, 2)
    queue.close()


def test_a_step_of_the_server_is_done_again_after_a_restart(tmp_path):
    begun, may_end = threading.Event(), threading.Event()

    def work(run):
        begun.set()
        assert may_end.wait(CEILING_S)
        return {"attempt": run.attempt}

    queue = Queue(tmp_path / "service", steps=TinySteps(work=work)).start()
    run_id = queue.submit(server="work")
    assert begun.wait(CEILING_S)
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
    heard = []
    queue = Queue(tmp_path / "service")
    run_id = queue.submit()

    def begin(connection):
        return begin_attempt(connection, get_run(connection, run_id), "local", (), 1.0)

    def end(connection, run, result):
        conclusion = Conclusion(State.SUCCEEDED, result={"of": result})
        ends = Ends([lambda _, run: heard.append(run.result["of"])], lambda: 2.0)
        return ends.end(connection, run, conclusion, 0)

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
