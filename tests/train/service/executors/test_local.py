"""Attempts as processes of this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from crossan.cache_schema.errors import ResourceError
from crossan.train.service.executors import Attempt, Job, LocalExecutor
from crossan.train.service.executors.marked import kill_marked, marked
from support.queued import PYTHON
from support.started import wait_until

IGNORING = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "


class Case:
    """One attempt on a temporary folder."""

    def __init__(self, folder):
        self.executor = LocalExecutor()
        self.attempt = Attempt(1, 1, folder / "attempt-1", f"{folder}/1/1")
        self.handle = None

    def start(self, program, memory_mib=4096, seconds=1000.0, silent_seconds=1000.0, **more):
        job = Job(
            argv=(*PYTHON, program),
            environment=more.pop("environment", {}),
            memory_bytes=memory_mib * 2**20,
            seconds=seconds,
            silent_seconds=silent_seconds,
            cpus=more.pop("cpus", 1),
            **more,
        )
        self.handle = self.executor.start(self.attempt, job)
        return self

    def look(self):
        return self.executor.look(self.attempt, self.handle)

    def end(self):
        """Wait for the attempt to end; return its outcome, having checked that nothing lives."""
        wait_until(lambda: not self.look().is_alive, "the end")
        assert self.program_ids() == []
        return self.look().outcome

    def program_ids(self):
        """Return the processes of the attempt beside its shim."""
        return [one.pid for one in marked(self.attempt.marker) if one.pid != self.shim]

    @property
    def shim(self):
        return json.loads((self.attempt.folder / "shim.json").read_text())["pid"]

    @property
    def output(self):
        return (self.attempt.folder / "output.log").read_text()

    def wait_for(self, text):
        wait_until(lambda: text in self.output, f"{text} in the output")


@pytest.fixture
def case(tmp_path):
    case = Case(tmp_path)
    yield case
    assert kill_marked(case.attempt.marker)


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


def test_too_much_memory_of_all_processes_together_ends_them(case):
    # Two processes with 60 MiB each, of which neither has 100.
    program = (
        "import os, time; child = os.fork(); block = bytearray(os.urandom(1)) * (60 * 2**20);"
        " time.sleep(1000)"
    )
    outcome = case.start(program, memory_mib=100).end()
    assert outcome.reason == "too much memory"
    assert 100 < outcome.peak_memory_bytes / 2**20 < 160


def test_memory_that_processes_share_counts_once(case):
    # 60 MiB that five processes share, and do not write to.
    program = (
        "import os, time; block = bytearray(b'x') * (60 * 2**20);"
        " [os.fork() or (time.sleep(2), os._exit(0)) for _ in range(4)]; time.sleep(2)"
    )
    outcome = case.start(program, memory_mib=100).end()
    assert outcome.reason == "exited"
    assert 60 < outcome.peak_memory_bytes / 2**20 < 100


def test_an_attempt_may_be_told_to_end_by_its_time(case):
    program = (
        "import signal, sys, time;"
        " signal.signal(signal.SIGTERM, lambda *_: (print('saved'), sys.exit(143)));"
        " print('ready', flush=True); time.sleep(1000)"
    )
    outcome = case.start(program, seconds=1.0).end()
    assert (outcome.reason, outcome.exit_code) == ("too long", 143)
    assert case.output == "ready\nsaved\n"
    assert 1.0 < outcome.seconds < 8.0


@pytest.mark.parametrize(
    ("sign", "reason"),
    [
        ("pass", "silent"),
        ("print('.', flush=True)", "exited"),
        ("open(os.environ['CROSSAN_HEARTBEAT'], 'w').write(str(n))", "exited"),
    ],
)
def test_silence_ends_an_attempt_and_a_line_or_a_heartbeat_breaks_it(case, sign, reason):
    program = f"import os, time\nfor n in range(10):\n    {sign}\n    time.sleep(0.25)"
    assert case.start(program, silent_seconds=1.2).end().reason == reason


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
    assert len(case.program_ids()) == 2
    begun = time.monotonic()
    case.executor.stop(case.attempt, case.handle)
    case.executor.stop(case.attempt, case.handle)
    outcome = case.end()
    assert outcome.reason == "cancelled"
    assert 1.5 < time.monotonic() - begun < 6.5


def test_what_a_program_leaves_behind_is_ended_before_its_outcome(case):
    program = "import os, time; os.fork() or (os.setsid(), time.sleep(1000)); print(1)"
    outcome = case.start(program).end()
    assert outcome.exit_code == 0
    assert 1.0 < outcome.seconds < 8.0


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
    server = (
        "import sys; from pathlib import Path;"
        "from crossan.train.service.executors import Attempt, Job, LocalExecutor;"
        "a = Attempt(1, 1, Path(sys.argv[1]) / 'attempt-1', f'{sys.argv[1]}/1/1');"
        f"j = Job({(*PYTHON, 'import time; print(1, flush=True); time.sleep(1.5); print(2)')!r},"
        " {}, 2**30, 100.0, 100.0, 1);"
        "LocalExecutor().start(a, j); import os; os.kill(os.getpid(), 9)"
    )
    ended = subprocess.run([sys.executable, "-c", server, tmp_path], check=False)
    assert ended.returncode == -signal.SIGKILL
    case = Case(tmp_path)
    assert case.look().is_alive
    assert os.getpgid(case.shim) == os.getsid(case.shim) == case.shim
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
    stranger = subprocess.Popen(["sleep", "1000"])
    wait_until(case.program_ids, "the program")
    os.kill(case.shim, signal.SIGKILL)
    shim = json.loads(case.handle)
    # As if the number of the shim had been given to the stranger.
    case.handle = json.dumps({**shim, "pid": stranger.pid})
    (case.attempt.folder / "shim.json").write_text(case.handle)
    case.executor.stop(case.attempt, case.handle)
    assert case.end().reason == "cancelled"
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


def test_a_damaged_outcome_is_a_lost_attempt(case):
    case.start("").end()
    for text in ("{", '{"reason": "exited", "more": 1}', "[1]"):
        (case.attempt.folder / "outcome.json").write_text(text)
        assert case.end().reason == "lost"


def test_output_past_its_bound_is_dropped_and_said(case):
    program = (
        "import os\nblock = b'x' * 2**20\nfor _ in range(70): os.write(1, block)\n"
        "os.write(2, b'\\nValueError: the last word\\n'); os._exit(1)"
    )
    outcome = case.start(program).end()
    assert outcome.message == "ValueError: the last word"
    assert 64 * 2**20 < len(case.output) < 65 * 2**20
    dropped = 6 * 2**20 + len("\nValueError: the last word\n")
    assert f"[crossan: {dropped} bytes of output were not kept" in case.output
    assert case.output.endswith("ValueError: the last word\n")
