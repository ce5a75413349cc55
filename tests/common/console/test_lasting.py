"""Streams that cannot encode, are closed, or lose their reader: the work is done, the exit code right."""

import json
import os
import shlex
import subprocess
import sys

import pytest

from crossan.cache_schema.errors import DataError
from crossan.common.console import (
    Column,
    heading,
    note,
    print_fields,
    print_json,
    print_table,
    print_text,
)
from crossan.common.console.errors import print_error
from support.started import CEILING_S

TITLE = "title \U0001f4a5 größe"
LINES = 300
"""More than a pipe and its buffers hold, so that every reader that goes away is noticed."""
SCRIPT = f"""
from pathlib import Path
from crossan.common.console import Column, live, note, print_json, print_table, print_text, progress
from crossan.common.console import run_command
live._QUIET_SECONDS = live._SECONDS_BETWEEN_PLAIN_LINES = live._SECONDS_BETWEEN_DRAWINGS = 0
def command(out: Path, count: int = {LINES}) -> None:
    title = {TITLE!r}
    with progress(title, count, "items") as shown:
        for number in range(count):
            print_text(f"{{number}} {{title}}" + 300 * "x")
            shown.advance()
    print_table([Column("title")], [[title]], title=title)
    print_json({{"title": title}})
    note(title)
    (out / "done").touch()
run_command(command, "prog")
"""


def run_in_shell(folder, redirection, **environment):
    """Run the program with a shell's redirection; return its exit code, stdout and stderr."""
    (folder / "script.py").write_text(SCRIPT)
    program = shlex.join([sys.executable, str(folder / "script.py"), str(folder)])
    return subprocess.run(
        ["bash", "-c", f"{program} {redirection}; exit ${{PIPESTATUS[0]}}"],
        env={**os.environ, **environment}, capture_output=True, check=False, cwd=folder,
    )  # fmt: skip


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "gbk"},
        {"PYTHONIOENCODING": "latin-1"},
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C"},
        {"PYTHONIOENCODING": "gbk", "PYTHONUNBUFFERED": "1"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
    ids=lambda variables: ",".join(variables.values()),
)
def test_what_an_encoding_lacks_is_escaped(environment, tmp_path):
    done = run_in_shell(tmp_path, "--count 2", **environment)
    assert (done.returncode, (tmp_path / "done").exists()) == (0, True), done.stderr
    encoding = environment.get("PYTHONIOENCODING", "ascii")
    if "PYTHONUTF8" not in environment and "LC_ALL" in environment:
        encoding = "utf-8"  # as Python takes the C locale
    lines = done.stdout.decode(encoding).splitlines()
    assert lines[0].rstrip("x") == f"0 {TITLE}".encode(encoding, "backslashreplace").decode(
        encoding
    )
    assert json.loads(lines[-1]) == {"title": TITLE}  # JSON loses nothing


@pytest.mark.parametrize(
    "redirection",
    [
        ">&-",
        "2>&-",
        ">&- 2>&-",
        "<&- >&- 2>&-",
        "2>/dev/full",
        "| head -1",
        "2>&1 | head -1",
        "| true",
    ],
)
def test_the_work_is_done_whoever_reads(redirection, tmp_path):
    done = run_in_shell(tmp_path, redirection)
    assert (done.returncode, (tmp_path / "done").exists()) == (0, True), done.stderr
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr


def test_a_result_that_the_disk_does_not_take_is_6_and_the_work_is_done(tmp_path):
    done = run_in_shell(tmp_path, ">/dev/full")
    assert (done.returncode, (tmp_path / "done").exists()) == (6, True)
    last = done.stderr.decode().splitlines()[-1]
    assert last == (
        "ResourceError: stdout: the result is not printed in whole: No space left on device"
    )


def test_files_never_get_the_number_of_a_closed_stream(tmp_path):
    script = """
import os, sys
from crossan.common.console.lasting import make_streams_last
make_streams_last()
with open("file", "wb") as file:
    print(file.fileno(), file=open("number", "w"))
    os.write(1, b"what a library prints")
"""
    subprocess.run(
        ["bash", "-c", f"{shlex.join([sys.executable, '-c', script])} <&- >&- 2>&-"],
        check=True,
        cwd=tmp_path,
    )
    assert int((tmp_path / "number").read_text()) > 2
    assert (tmp_path / "file").read_bytes() == b""


def test_a_terminal_that_dies_ends_no_work(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    master, slave = os.openpty()
    program = subprocess.Popen(
        [sys.executable, "script.py", ".", "--count", "30"],
        stdout=slave,
        stderr=slave,
        cwd=tmp_path,
    )
    os.close(slave)
    assert os.read(master, 100)
    os.close(master)
    assert program.wait(CEILING_S) == 0
    assert (tmp_path / "done").exists()


HOSTILE = {
    "\x1b[2J": r"\x1b[2J",
    "a\rb": r"a\rb",
    "a\nb": r"a\nb",
    "\u202eabc": r"\u202eabc",
    "\u200fabc\u200b": r"\u200fabc\u200b",
    "\u2066a\u2069": r"\u2066a\u2069",
    "\x9b31m": r"\x9b31m",
    "\ud800": r"\ud800",
    "\U000e0041": r"\U000e0041",
    "[red]x[/] :smile:": "[red]x[/] :smile:",
    "👩‍🚀 größe \u05d0": "👩‍🚀 größe \u05d0",
}


@pytest.mark.parametrize("raw", HOSTILE, ids=list(map(ascii, HOSTILE)))
def test_titles_and_ids_move_no_cursor_and_turn_no_line(raw, capsys):
    shown = HOSTILE[raw]
    print_table([Column("title")], [[raw]])
    print_fields([("title", raw)])
    in_one_line = raw.replace("\n", " ")
    expected = shown.replace(r"\n", " ")
    print_text(in_one_line)
    note(in_one_line)
    heading(in_one_line)
    print_error(DataError(in_one_line))
    out, err = capsys.readouterr()
    assert out.splitlines() == ["title", shown.rstrip(), f"title  {shown}", expected]
    assert err.splitlines() == [expected, "", expected, f"DataError: {expected}"]
    print_json({"title": raw})
    assert json.loads(capsys.readouterr().out) == {"title": raw}
