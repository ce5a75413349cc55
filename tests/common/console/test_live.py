"""Progress: one live line on a terminal, a plain line now and then elsewhere."""

import subprocess
import sys

import pytest

from crossan.common.console import Progress, live, note
from support.terminal import lines_of, run_script_in_terminal

AT_ONCE = """
import sys, threading
from crossan.common.console import live, note, progress
live._QUIET_SECONDS = live._SECONDS_BETWEEN_DRAWINGS = 0
"""
HIDE_CURSOR = "\x1b[?25l"
CYAN = "\x1b[36m"


def shown_at(monkeypatch, times, unit, total, counts):
    clock = iter(times)
    monkeypatch.setattr(live, "monotonic", lambda: next(clock))
    counted = Progress("extract text", total, unit)
    for count in counts:
        counted.advance(count)
    counted.close()


def test_progress_says_rate_and_eta_after_two_seconds(monkeypatch, capsys):
    # 5 items after one second: quiet; 20 after 10 s: 2 a second, 80 left; 21 after 11 s: too soon
    shown_at(monkeypatch, [0.0, 1.0, 10.0, 11.0], "items", 100, [5, 15, 1])
    assert capsys.readouterr().err == "extract text: 20/100 items, 2.0/s, ETA 0:40\n"


def test_bytes_are_shown_as_megabytes(monkeypatch, capsys):
    shown_at(monkeypatch, [0.0, 10.0], "bytes", 120_000_000, [30_000_000])
    assert capsys.readouterr().err == "extract text: 30.0/120.0 MB, 3.0 MB/s, ETA 0:30\n"


def test_short_work_says_nothing(monkeypatch, capsys):
    shown_at(monkeypatch, [0.0, 0.5, 1.9], "items", 2, [1, 1])
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_one_line_that_goes_with_the_work():
    script = """
with progress("extract [red]", 4, "items") as counted:
    for number in range(4):
        counted.advance(1, f"loss {number}")
    print("after", file=sys.stderr)
"""
    written = run_script_in_terminal(AT_ONCE + script)
    drawn = lines_of(written)
    assert drawn[0].startswith("extract [red] ")
    assert "1/4 items" in drawn[0]
    assert drawn[0].endswith("loss 0")
    assert CYAN in written
    assert HIDE_CURSOR not in written  # a process that is killed could not bring it back
    assert written.rstrip().endswith("\x1b[2K")  # the last thing done is to erase the line


def test_notes_and_other_peoples_lines_stand_whole_above_the_live_lines():
    script = """
def work(name):
    with progress(name, 40, "items") as counted:
        for number in range(40):
            counted.advance()
            if number % 10 == 0:
                note(f"note {name} {number} [bold]" + "x" * 40)
                print(f"warning {name} {number}", file=sys.stderr)
with progress("all", 2, "lanes") as outer:
    lanes = [threading.Thread(target=work, args=(name,)) for name in ("a", "b")]
    for lane in lanes:
        lane.start()
    for lane in lanes:
        lane.join()
        outer.advance()
"""
    written = run_script_in_terminal(AT_ONCE + script, columns=80)
    drawn = lines_of(written)
    for name in ("a", "b"):
        for number in (0, 10, 20, 30):
            assert drawn.count(f"note {name} {number} [bold]" + "x" * 40) == 1
            assert drawn.count(f"warning {name} {number}") == 1
        assert any(line.startswith(f"{name} ") and "40/40 items" in line for line in drawn)


@pytest.mark.parametrize(("columns", "has_bar"), [(100, True), (45, False)])
def test_the_bar_takes_the_room_that_is_left(columns, has_bar):
    script = "with progress('write', 4, 'items') as counted:\n    counted.advance()\n"
    (drawn,) = set(lines_of(run_script_in_terminal(AT_ONCE + script, columns=columns)))
    assert ("━" in drawn) is has_bar
    assert drawn.rstrip().endswith("ETA 0:00")
    assert len(drawn) <= columns


def test_a_line_that_is_too_long_loses_its_end():
    script = (
        "with progress('extract audio', 4, 'items') as counted:\n    counted.advance(1, 'x' * 60)\n"
    )
    (drawn,) = set(lines_of(run_script_in_terminal(AT_ONCE + script, columns=60)))
    assert drawn.startswith("extract audio  1/4 items, ")
    assert drawn.rstrip().endswith("x…")
    assert len(drawn) <= 60


def test_a_note_is_broken_between_words_on_a_terminal_alone(capsys):
    path = "p" * 50
    script = f"from crossan.common.console import note\nnote('  see {path} for the rest of it')"
    written = run_script_in_terminal(script, columns=40)
    assert written.splitlines() == ["  see", path, "for the rest of it"]
    note(f"  see {path} for the rest of it")
    assert capsys.readouterr().err == f"  see {path} for the rest of it\n"


def test_no_color_draws_without_colours():
    script = "with progress('write', 4, 'items') as counted:\n    counted.advance()\n"
    written = run_script_in_terminal(AT_ONCE + script, NO_COLOR="1")
    assert "1/4 items" in written
    assert CYAN not in written


def test_a_terminal_that_cannot_draw_gets_plain_lines():
    script = """
live._SECONDS_BETWEEN_PLAIN_LINES = 0
with progress("write", 4, "items") as counted:
    counted.advance()
"""
    written = run_script_in_terminal(AT_ONCE + script, TERM="dumb")
    assert written.startswith("write: 1/4 items, ")
    assert "\x1b" not in written


def test_work_that_fails_leaves_no_line_and_stderr_as_it_was():
    script = """
before = sys.stderr
try:
    with progress("write", 4, "items") as counted:
        counted.advance()
        raise KeyError
except KeyError:
    pass
counted.advance()
assert sys.stderr is before
print("end")
"""
    written = run_script_in_terminal(AT_ONCE + script)
    assert lines_of(written)[-1] == "end"
    assert len(set(lines_of(written))) == 2  # what was done after the end is drawn no more


def test_results_go_to_their_pipe_while_a_line_is_live(tmp_path):
    script = """
with progress("write", 4, "items") as counted:
    counted.advance()
    print("result")
"""
    with (tmp_path / "out").open("wb") as out:
        run_script_in_terminal(AT_ONCE + script, stdout=out)
    assert (tmp_path / "out").read_text() == "result\n"


def test_nothing_of_rich_is_loaded_where_nothing_is_drawn():
    script = """
import sys
from crossan.common.console import note, progress
with progress("write", 4, "items") as counted:
    counted.advance()
note("done")
print([name for name in sys.modules if name.split(".")[0] == "rich"])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "done\n")
