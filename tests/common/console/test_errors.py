"""Errors: the same words everywhere, in colour on a terminal; a wrong word names the nearest."""

import sys
from typing import Annotated, Literal

import pytest
import typer

from crossan.common.console import add_command, app_settings
from crossan.common.console.errors import describe_unknown_option
from support.refusals import refusal
from support.terminal import lines_of, run_in_terminal

SCRIPT = """
from crossan.cache_schema.errors import DataError
from crossan.common.console import run_command
def command() -> None:
    raise DataError("title [red] of \\x1b[2J\\n  item v1", remedy="Run: crossan data check d")
run_command(command, "prog")
"""


def test_a_terminal_shows_the_kind_in_red_and_the_remedy_apart():
    code, written = run_in_terminal([sys.executable, "-c", SCRIPT], columns=40)
    assert code == 3
    assert written.startswith(
        "\x1b[1;31mDataError\x1b[0m: title [red] of \\x1b[2J\r\n  item v1\r\n\r\n"
    )
    assert "\x1b[1mRun: crossan data check d\x1b[0m" in written


def test_no_color_keeps_the_words():
    _, written = run_in_terminal([sys.executable, "-c", SCRIPT], NO_COLOR="1")
    assert "\x1b[1;31m" not in written
    assert lines_of(written) == [
        "DataError: title [red] of \\x1b[2J",
        "  item v1",
        "  Run: crossan data check d",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sede", "1"], "--sede: no such option; did you mean '--seed'?"),
        (["--quite-another", "1"], "--quite-another: no such option"),
        (["--seed", "many"], "--seed: input should be a valid integer, unable to parse string"),
        (["--seed", "-1"], "--seed: input should be greater than or equal to 0"),
        (["--kind", "smae"], "--kind smae: expected one of same, other; did you mean 'same'?"),
        (["--kind", "it's"], "--kind it's: expected one of same, other"),
        ([], "--kind: expected a value, found none"),
        (["--kind", "same", "extra"], "got unexpected extra argument(s) (extra)"),
    ],
)
def test_a_wrong_command_line_is_named(arguments, message):
    def command(
        kind: Annotated[Literal["same", "other"], typer.Option()],
        seed: Annotated[int, typer.Option(min=0)] = 0,
    ) -> None:
        raise AssertionError(f"never called: {kind}, {seed}")

    app = typer.Typer(**app_settings())
    add_command(app, "prog")(command)
    said = refusal(app, *arguments)
    assert said.splitlines()[0].startswith(message)
    assert said.splitlines()[1:] == ["  Run: prog --help"]


def test_a_wrong_command_names_the_nearest():
    app = typer.Typer(**app_settings())
    for name in ("train", "evaluate"):
        add_command(app, name)(lambda: None)
    assert refusal(app, "trian").startswith("no such command 'trian'; did you mean 'train'?\n")


def test_an_unknown_option_names_the_nearest_that_there_is():
    assert describe_unknown_option("--sede", ["--seed", "--set"]).endswith("mean '--seed'?")
    assert describe_unknown_option("--sede", []) == "--sede: no such option"
