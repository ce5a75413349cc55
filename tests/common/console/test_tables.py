"""Tables: nothing is cut off, nothing is taken for markup, numbers stand at the right."""

import subprocess
import sys

import pytest

from crossan.common.console import Column, print_fields, print_table
from crossan.common.console.streams import printable
from support.terminal import lines_of, run_script_in_terminal

LONG = "v" * 150
SCRIPT = f"""
from crossan.common.console import Column, print_fields, print_table
print_table(
    [Column("item"), Column("count", is_number=True)],
    [["[red]ü[/red]", "1,234"], ["{LONG}", "5"]],
    title="all [items] there are",
)
print_fields([("title", "[bold]"), ("id", "{LONG}")])
"""


def test_off_a_terminal_a_row_is_one_plain_line(capsys):
    print_table(
        [Column("item"), Column("count", is_number=True), Column("note")],
        [["[red]ü[/red]", "1,234", ""], [LONG, "5", "x"]],
    )
    gap = " " * (len(LONG) - len("item"))
    assert capsys.readouterr().out.splitlines() == [
        f"item{gap}  count  note",
        f"[red]ü[/red]{' ' * (len(LONG) - 12)}  1,234",
        f"{LONG}      5  x",
    ]


def test_a_title_stands_above(capsys):
    print_table([Column("a")], [["1"]], title="figures of [x]")
    assert capsys.readouterr().out == "figures of [x]\na\n1\n"


def test_wide_characters_count_twice(capsys):
    print_table([Column("title"), Column("n", is_number=True)], [["字字", "1"], ["abc", "2"]])
    assert capsys.readouterr().out.splitlines() == ["title  n", "字字   1", "abc    2"]


def test_a_table_without_rows_shows_its_columns(capsys):
    print_table([Column("title"), Column("n", is_number=True)], [])
    print_fields([])
    assert capsys.readouterr().out == "title  n\n"


def test_fields_are_aligned(capsys):
    print_fields([("id", "[bold]x"), ("modality", "text")])
    assert capsys.readouterr().out == "id        [bold]x\nmodality  text\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain [x] größe 字", "plain [x] größe 字"),
        ("a\x1b[31mb\rc\td\ne", "a\\x1b[31mb\\rc\\td\\ne"),
        ("gnp\u202eexe\u2066", "gnp\\u202eexe\\u2066"),
        ("\u2028\x9b\udcff", "\\u2028\\x9b\\udcff"),
    ],
)
def test_what_would_move_the_cursor_is_escaped(text, shown):
    assert printable(text) == shown


@pytest.mark.parametrize("columns", [80, 200])
def test_a_terminal_folds_what_is_too_wide(columns):
    written = run_script_in_terminal(SCRIPT, columns=columns)
    lines = lines_of(written)
    assert "\x1b[1m" in written  # the names are bold
    assert lines[0].rstrip() == "all [items] there are"
    assert max(map(len, lines)) <= columns
    assert "".join(lines).count("v") == 2 * len(LONG)
    assert "…" not in written
    assert any(
        line.startswith("[red]ü[/red] ") and line.rstrip().endswith("1,234") for line in lines
    )
    assert any(line.split() == ["title", "[bold]"] for line in lines)


def test_an_encoding_that_lacks_a_sign_gets_an_escape():
    script = f"""
import typer
from crossan.common.console import print_json, run_command
def command(as_json: bool = False) -> None:
    if as_json:
        print_json({{"title": "größe 字"}})
        return
{"".join("    " + line + chr(10) for line in SCRIPT.splitlines())}
run_command(command, "prog")
"""
    environment = {"PYTHONIOENCODING": "ascii", "PATH": "/usr/bin:/bin"}
    plain, machine = (
        subprocess.run([sys.executable, "-c", script, *more], capture_output=True, env=environment)
        for more in ([], ["--as-json"])
    )
    assert plain.returncode == 0, plain.stderr
    assert b"[red]\\xfc[/red]" in plain.stdout
    assert machine.stdout == b'{"title": "gr\\u00f6\\u00dfe \\u5b57"}\n'


def test_an_encoding_that_is_not_unicode_gets_no_boxes():
    written = run_script_in_terminal(SCRIPT.replace("ü", "u"), PYTHONIOENCODING="ascii")
    assert "---" in written
    assert written.isascii()
