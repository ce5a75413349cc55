"""What a command can say of an option that it does not have."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

__all__ = ["Explain", "explains_options", "explanation_of"]

Explain = Callable[[str, str | None], str | None]
"""Takes an unknown option as it was typed, ``--max-epochs``, and what stands behind it; returns
what it is, or None where it is nothing known."""

CommandT = TypeVar("CommandT", bound=Callable[..., Any])

_ATTRIBUTE = "explain_option"


def explains_options(explain: Explain) -> Callable[[CommandT], CommandT]:
    """Return a decorator for a command that knows more about options it does not have."""

    def decorate(command: CommandT) -> CommandT:
        setattr(command, _ATTRIBUTE, explain)
        return command

    return decorate


def explanation_of(option: str, context: Any) -> str | None:  # noqa: ANN401 - a class that typer does not export
    """Return what the command says of an option that it does not have.

    Parameters
    ----------
    option
        As typer names it: without ``=VALUE``.
    context
        The command's context.
    """
    # typer wraps a command's function as functools.wraps does, which keeps its attributes.
    explain = getattr(context.command.callback, _ATTRIBUTE, None)
    if explain is None:
        return None
    # typer's error does not hold what stood behind the option; programs of ours read no other
    # command line than the process's own.
    explanation: str | None = explain(option, _value_of(option, sys.argv[1:]))
    return explanation


def _value_of(option: str, arguments: Sequence[str]) -> str | None:
    """Return what stands behind an option, after ``=`` or a blank."""
    for position, argument in enumerate(arguments):
        if argument.startswith(f"{option}="):
            return argument.removeprefix(f"{option}=")
        if argument == option:
            value = next(iter(arguments[position + 1 :]), None)
            return None if value is None or value.startswith("--") else value
    return None
