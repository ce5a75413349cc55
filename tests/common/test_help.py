"""Every command's help: panels of one set, a text for every option, an example that its options allow."""

import shlex
import sys

import pytest
import typer

from crossan.common.console import Panel
from crossan.common.umbrella import build_app
from support.terminal import lines_of, run_in_terminal

ROOT = typer.main.get_command(build_app())
PANELS = {panel.value for panel in Panel}


def commands_below(command, path=("crossan",)):
    """Yield every command with the words that call it, groups included."""
    yield path, command
    for name in getattr(command, "commands", {}):
        yield from commands_below(command.commands[name], (*path, name))


COMMANDS = dict(commands_below(ROOT))
LEAVES = {path: command for path, command in COMMANDS.items() if not hasattr(command, "commands")}


def options_of(path):
    command = COMMANDS[path]
    context = typer.Context(command, info_name=" ".join(path), **command.context_settings)
    return [
        param
        for param in command.get_params(context)
        if param.param_type_name == "option" and not param.hidden
    ]


def examples_of(path):
    """Return the words of each example, the lines that a backslash ends joined to the next."""
    text = "\n".join(COMMANDS[path].examples).replace("\\\n", " ")
    return [shlex.split(line) for line in text.splitlines()]


def named(words):
    """Return the path of the command that words call, and what is left of them."""
    program, *rest = words
    path = {"crossan": ("crossan",)}.get(program, ("crossan", program.removeprefix("crossan-")))
    while hasattr(COMMANDS[path], "commands") and rest and (*path, rest[0]) in COMMANDS:
        path, rest = (*path, rest[0]), rest[1:]
    return path, rest


def test_there_are_as_many_commands_as_we_know():
    assert {path[1] for path in LEAVES} >= {"data", "cache", "backbones", "extract", "train"}
    assert len(LEAVES) >= 27


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_options_have_a_text_and_stand_in_the_panels_that_we_have(path):
    for option in options_of(path):
        assert option.help, option.opts
        assert option.rich_help_panel in PANELS, option.opts
        assert any(name.startswith("--") for name in option.opts), option.opts


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_an_example_calls_the_command_with_options_that_it_has(path):
    examples = examples_of(path)
    assert examples
    for words in examples:
        called, rest = named(words)
        assert called == path
        COMMANDS[path].make_context(" ".join(path), rest)


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_command_that_computes_results_prints_them_as_json_on_request(path):
    assert any("--json" in option.opts for option in options_of(path))


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_h_is_help(path, capsys):
    assert ROOT.main([*path[1:], "-h"], "crossan", standalone_mode=False) == 0
    shown = capsys.readouterr().out
    assert f"Usage: {' '.join(path)} " in shown
    assert "-h" in shown
    assert path not in LEAVES or "\n Example " in shown


@pytest.mark.parametrize("columns", [80, 160])
def test_help_fits_the_terminal(columns):
    script = "import sys; from crossan.train.cli import main; main()"
    code, written = run_in_terminal([sys.executable, "-c", script, "-h"], columns=columns)
    lines = lines_of(written)
    assert code == 0
    assert max(map(len, lines)) <= columns
    for title in ("What", "Settings", "Where it computes", "Limits", "Cluster", "Output and help"):
        assert sum(line.startswith(f"╭─ {title} ") for line in lines) == 1
    assert "\x1b[33m" not in written  # yellow cannot be read on a light terminal
    assert "\x1b[1;33m" not in written


def test_choices_are_shown():
    train, extract = ("crossan", "train"), ("crossan", "extract")
    shown = {option.opts[0]: f"{option.metavar} {option.help}" for option in options_of(train)}
    assert "auto, device, host or streamed" in shown["--residence"]
    shown = {option.opts[0]: option for option in options_of(extract)}
    assert shown["--codec"].type_descriptor.choices == ("raw", "zstd", "blosc")
    assert "float32, bfloat16 or float16" in shown["--dtype"].help
