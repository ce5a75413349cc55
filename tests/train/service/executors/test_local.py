"""Attempts as processes of this machine."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from crossan.cache_schema.errors import ResourceError
from crossan.train.service.executors import Job, LocalExecutor
from support.attempted import Case
from support.queued import PYTHON
from support.started import CEILING_S, ended_with_test, wait_until

IGNORING = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "


def test_a_program_runs_and_what_it_prints_is_kept(case):
    outcome = case.start("import sys; print('one'); print('two', file=sys.stderr)").end()
    assert (outcome.reason, outcome.exit_code, outcome.message) == ("exited", 0, "")
    assert sorted(case.output.split()) == ["one", "two"]


def test_a_program_gets_its_surroundings(case, monkeypatch):
    monkeypatch.setenv("FROM_SERVER", "1")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    names = "FROM_SERVER", "GIVEN", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "CROSSAN_HEARTBEAT", "CROSSAN_ATTEMPT"  # fmt: skip
    program = (
        "import os, json, signal;"
        f" print(json.dumps([[os.environ[n] for n in {names}], os.getcwd(), os.environ['PATH'],"
        " os.read(0, 1).decode(), signal.getsignal(signal.SIGINT).__name__,"
        " sorted(int(n) for n in os.listdir('/proc/self/fd'))]))"
    )
    case.start(program, environment={"GIVEN": "2"}, cpus=3, devices=(1, 2)).end()
    values, folder, path, typed, interrupt, descriptors = json.loads(case.output)
    heartbeat = str(case.attempt.folder / "heartbeat")
    assert values == ["1", "2", "3", "1,2", heartbeat, case.attempt.marker]
    assert folder == str(case.attempt.folder)
    assert path.split(":")[0] == str(Path(sys.executable).parent)
    assert (typed, interrupt) == ("", "default_int_handler")
    assert descriptors == [0, 1, 2, 3]  # the last is that of the listing itself


def test_no_variable_of_ours_sets_what_the_spec_does_not_say(case, monkeypatch):
    monkeypatch.setenv("CROSSAN_MODEL__KIND", "sasrec")
    monkeypatch.setenv("CROSSAN_ALLOW_CODE", "1")
    case.start("import os; print([n for n in os.environ if n.startswith('CROSSAN_')])").end()
    assert sorted(ast.literal_eval(case.output)) == ["CROSSAN_ATTEMPT", "CROSSAN_HEARTBEAT"]


def test_devices_are_those_that_the_server_may_use(case, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,GPU-abc")
    case.start("import os; print(os.environ['CUDA_VISIBLE_DEVICES'])", devices=(1,)).end()
    assert case.output == "GPU-abc\n"


def test_the_exit_code_and_the_error_are_told(case):
    program = "import sys; print('x\\n' * 50 + 'UsageError: wrong\\n  mend it'); sys.exit(2)"
    outcome = case.start(program).end()
    assert (outcome.reason, outcome.exit_code) == ("exited", 2)
    assert outcome.message == "UsageError: wrong\n  mend it"


def test_a_traceback_is_told_by_its_last_line(case):
    outcome = case.start("import nothing_of_this_name").end()
    assert outcome.exit_code == 1
    assert outcome.message == "ModuleNotFoundError: No module named 'nothing_of_this_name'"


def test_a_program_that_is_not_installed_is_named(case):
    job = Job(("no-such-program",), {}, 2**30, 100.0, 100.0, 1)
    case.handle = case.executor.start(case.attempt, job)
    outcome = case.end()
    assert outcome.exit_code == 127
    assert outcome.message.startswith("error: no-such-program cannot be started: [Errno 2]")


def test_a_signal_is_a_negative_exit_code(case):
    outcome = case.start("import os; os.kill(os.getpid(), 9)").end()
    assert (outcome.reason, outcome.exit_code) == ("exited", -signal.SIGKILL)


def test_stopping_ends_every_process_whatever_it_ignores_and_wherever_it_went(case, monkeypatch):
    # A child in a session of its own, whose own child is handed to whoever adopts orphans.
    program = (
        IGNORING + "import os\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork():\n"
        "        os._exit(0)\n"
        "print('up', flush=True)\n"
        "time.sleep(1000)"
    )
    monkeypatch.setattr("crossan.train.service.executors.local._GRACE_SECONDS", 1.5)
    case.start(program)
    wait_until(lambda: case.output.count("up") == 2, "both processes")
    # The child between them has nothing to do but to end.
    wait_until(lambda: len(case.program_ids()) == 2, "the end of the child between them")
    begun = time.monotonic()
    case.executor.stop(case.attempt, case.handle)
    case.executor.stop(case.attempt, case.handle)
    outcome = case.end()
    assert outcome.reason == "cancelled"
    assert time.monotonic() - begun > 1.5


def test_a_program_that_is_told_to_end_while_it_begins_hears_it(case):
    case.attempt.folder.mkdir()
    (case.attempt.folder / "stop").touch()
    outcome = case.start("import time; time.sleep(1000)").end()
    # Not killed after ten seconds, as one that did not listen.
    assert (outcome.reason, outcome.exit_code) == ("cancelled", -signal.SIGTERM)


def test_what_a_program_leaves_behind_is_ended_before_its_outcome(case):
    program = "import os, time; os.fork() or (os.setsid(), time.sleep(1000)); print(1)"
    outcome = case.start(program).end()
    assert outcome.exit_code == 0
    assert 1.0 < outcome.seconds < CEILING_S


def test_a_program_that_signals_its_group_spares_the_shim(case):
    outcome = case.start("import os; os.killpg(0, 9)").end()
    assert (outcome.reason, outcome.exit_code) == ("exited", -9)


def test_a_killed_shim_takes_everything_with_it(case):
    program = IGNORING + "import os; os.fork() == 0 and os.setsid(); print('up', flush=True); time.sleep(1000)"  # fmt: skip
    case.start(program)
    wait_until(lambda: case.output.count("up") == 2, "both processes")
    os.kill(case.shim, signal.SIGKILL)
    outcome = case.end()
    assert (outcome.reason, outcome.has_begun) == ("lost", True)
    assert LocalExecutor().look(case.attempt, None).outcome.reason == "lost"


def test_a_shim_that_does_not_answer_is_ended(case, monkeypatch):
    case.start("import time; print('up', flush=True); time.sleep(1000)")
    case.wait_for("up")
    os.kill(case.shim, signal.SIGSTOP)
    monkeypatch.setattr("crossan.train.service.executors.local._PATIENCE_SECONDS", 0.2)
    case.executor.stop(case.attempt, case.handle)
    assert case.end().reason == "cancelled"


def test_an_attempt_goes_on_without_its_server_and_is_found_again(tmp_path):
    goes_on = (
        "import os, time; print(1, flush=True)\n"
        "while not os.path.exists('../go'): time.sleep(0.02)\n"
        "print(2)"
    )
    server = (
        "import sys; from pathlib import Path;"
        "from crossan.train.service.executors import Attempt, Job, LocalExecutor;"
        "a = Attempt(1, 1, Path(sys.argv[1]) / 'attempt-1', f'{sys.argv[1]}/1/1');"
        f"j = Job({(*PYTHON, goes_on)!r},"
        " {}, 2**30, 100.0, 100.0, 1);"
        "LocalExecutor().start(a, j); import os; os.kill(os.getpid(), 9)"
    )
    ended = subprocess.run([sys.executable, "-c", server, tmp_path], check=False)
    assert ended.returncode == -signal.SIGKILL
    case = Case(tmp_path)
    assert case.look().is_alive
    assert os.getpgid(case.shim) == os.getsid(case.shim) == case.shim
    (tmp_path / "go").touch()
    assert case.end().exit_code == 0
    assert case.output == "1\n2\n"


def test_an_attempt_that_was_never_started_is_lost_and_a_late_shim_does_nothing(case):
    outcome = case.look().outcome
    assert (outcome.reason, outcome.has_begun) == ("lost", False)
    case.start("print('twice')")  # as the shim would that a killed server had just started
    assert case.look().outcome.reason == "lost"
    assert case.program_ids() == []
    assert case.output == ""


def test_where_no_shim_can_be_started_nothing_is_taken(case, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("crossan.train.service.executors.local._SHIM", Path("/no/such/shim.py"))
        with pytest.raises(ResourceError, match="no shim could be started: .*No such file"):
            case.start("print('never')")
    assert case.start("print('now')").end().exit_code == 0
    assert case.output == "now\n"


def test_another_process_with_the_number_of_a_shim_is_not_taken_for_it(case):
    case.start("import time; time.sleep(1000)")
    # The system counts starts in hundredths of a second: by now that of the shim is over.
    wait_until(case.program_ids, "the program")
    stranger = ended_with_test(subprocess.Popen(["sleep", "1000"]))
    os.kill(case.shim, signal.SIGKILL)
    shim = json.loads(case.handle)
    # As if the number of the shim had been given to the stranger.
    case.handle = json.dumps({**shim, "pid": stranger.pid})
    (case.attempt.folder / "shim.json").write_text(case.handle)
    case.executor.stop(case.attempt, case.handle)
    assert case.end().reason == "cancelled"
    assert stranger.poll() is None


def test_a_damaged_outcome_is_a_lost_attempt(case):
    case.start("").end()
    for text in ("{", '{"reason": "exited", "more": 1}', "[1]"):
        (case.attempt.folder / "outcome.json").write_text(text)
        assert case.end().reason == "lost"
