"""Errors as people read them, those of a wrong command line among them."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Sequence

import typer

from crossan.cache_schema.errors import CrossanError, UsageError
from crossan.common.console.messages import note
from crossan.common.console.streams import is_terminal, printable_lines
from crossan.common.console.unknown_options import explanation_of

__all__ = ["as_usage_error", "describe_unknown_option", "did_you_mean", "print_error"]

_WRONG_CHOICE = re.compile(r"(['\"])(?P<value>.*)\1 is not one of (?P<choices>'.*')\.", re.DOTALL)
_PYDANTIC = "Value error, "


def print_error(error: CrossanError) -> None:
    """Print an error of ours on stderr: its kind, what is wrong, and what mends it.

    On a terminal the kind is red and the remedy stands apart.
    """
    kind = type(error).__name__
    if not is_terminal(sys.stderr):
        note(f"{kind}: {error}")
        return
    from rich.text import Text

    from crossan.common.console.drawing import drawing_on

    text = Text.assemble((kind, "bold red"), f": {printable_lines(error.message)}")
    if error.remedy is not None:
        remedy = printable_lines(error.remedy).replace("\n", "\n  ")
        text.append("\n\n  ").append(remedy, "bold")
    # No line is broken here: a command that is copied from the screen stays whole.
    drawing_on(sys.stderr).print(text, soft_wrap=True)


def as_usage_error(error: typer.TyperException) -> UsageError:
    """Return our error for what typer found wrong with a command line.

    Parameters
    ----------
    error
        It tells of an option that is unknown, lacks its value or has a wrong
        one, of too many arguments, or of a command that does not exist.
    """
    context = getattr(error, "ctx", None)
    path = context.command_path if context else None
    return UsageError(_describe(error), remedy=f"Run: {path} --help" if path else None)


def describe_unknown_option(option: str, known: Sequence[str]) -> str:
    """Return what is said of an option that a command does not have.

    Parameters
    ----------
    option
        As the user typed it, for example ``--sede``.
    known
        The options that the command has.
    """
    return f"{option}: no such option{did_you_mean(option, known)}"


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """Return a question that names the nearest of the known words; nothing where none is near."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


def _describe(error: typer.TyperException) -> str:
    kind = type(error).__name__
    if kind == "NoSuchOption":
        return _describe_option(error.option_name, error)  # type: ignore[attr-defined]
    param = getattr(error, "param", None)
    if param is None:
        return _sentence(error.format_message())
    name = " / ".join(param.opts) if param.param_type_name == "option" else param.display_name_raw
    if kind == "MissingParameter":
        return f"{name}: expected a value, found none"
    choice = _WRONG_CHOICE.fullmatch(error.message.removeprefix(_PYDANTIC))
    if choice is None:
        return f"{name}: {_sentence(error.message.removeprefix(_PYDANTIC))}"
    value, choices = choice["value"], re.findall(r"'([^']*)'", choice["choices"])
    expected = f"expected one of {', '.join(choices)}"
    return f"{name} {value}: {expected}{did_you_mean(value, choices)}"


def _describe_option(option: str, error: typer.TyperException) -> str:
    known, context = _options_of(error), getattr(error, "ctx", None)
    # A command may know what an option is that it has not; but not of its own, mistyped.
    is_known = context is None or option.replace("_", "-") in known
    explanation = None if is_known else explanation_of(option, context)
    if explanation is None:
        return describe_unknown_option(option, known)
    return f"{option}: no such option; {explanation}"


def _options_of(error: typer.TyperException) -> list[str]:
    context = getattr(error, "ctx", None)
    if context is None:
        return []
    return [name for param in context.command.get_params(context) for name in param.opts]


def _sentence(text: str) -> str:
    """Return typer's sentences as ours begin, go on and end."""
    text = text.replace(". Did you mean", "; did you mean")
    return text[:1].lower() + text[1:].removesuffix(".")
