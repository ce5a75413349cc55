"""Commands whose help has panels and an example."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from crossan.common.console.panels import Panel

__all__ = ["Command", "Group", "add_command", "app_settings", "split_docstring"]

_EXAMPLES = "Examples\n--------\n"
_CONTEXT = {"help_option_names": ["-h", "--help"]}
_STYLES = {
    "STYLE_TYPES": "magenta",
    "STYLE_USAGE": "bold",
    "STYLE_HELPTEXT": "",
    "STYLE_OPTION_ENVVAR": "dim",
}
"""Where typer's own styles are yellow, which a light terminal does not show, or needlessly dim."""
_METAVARS = {
    "<bool>": "",
    "<int>": "N",
    "<int range>": "N",
    "<float>": "NUMBER",
    "<float range>": "NUMBER",
    "<str>": "TEXT",
    "<path>": "PATH",
}
"""What stands for a value, by what typer says of its type."""
_WIDEST_CHOICES = 24
"""Cells; wider ones would be broken in 80 columns, so they are named in the help itself."""


class Command(TyperCommand):
    """One command: the ``Examples`` section of its docstring ends its help.

    Options without a panel stand in the last one.
    """

    def __init__(self, name: str | None, *, help: str | None = None, **given: Any) -> None:  # noqa: A002, ANN401 - typer's names
        text, self.examples = split_docstring(help)
        given["context_settings"] = _CONTEXT | (given.get("context_settings") or {})
        super().__init__(name, help=text, **given)

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401 - a class that typer does not export
        """Return all options as the help shows them."""
        return [_shown_well(param, ctx) for param in super().get_params(ctx)]

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - classes that typer does not export
        """Print the help in colours that dark and light terminals show."""
        _use_readable_styles()
        self.epilog = _epilog(self.examples)
        super().format_help(ctx, formatter)


class Group(TyperGroup):
    """Commands under one name, with a help like theirs."""

    def __init__(self, *, help: str | None = None, **given: Any) -> None:  # noqa: A002, ANN401 - typer's names
        text, self.examples = split_docstring(help)
        super().__init__(help=text, **given)

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401 - a class that typer does not export
        """Return the commands in the order of the alphabet."""
        return sorted(super().list_commands(ctx))

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401 - a class that typer does not export
        """Return all options as the help shows them."""
        return [_shown_well(param, ctx) for param in super().get_params(ctx)]

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - classes that typer does not export
        """Print the help in colours that dark and light terminals show."""
        _use_readable_styles()
        self.epilog = _epilog(self.examples)
        super().format_help(ctx, formatter)


def app_settings() -> dict[str, Any]:
    """Return the settings every Typer app of ours is made with."""
    return {
        "cls": Group,
        "no_args_is_help": True,
        "add_completion": False,
        "pretty_exceptions_enable": False,
        "rich_markup_mode": "rich",
        "context_settings": _CONTEXT,
    }


def add_command(app: typer.Typer, name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that makes a function a command of ``app``.

    Parameters
    ----------
    app
        The program or group that gets it.
    name
        What the user types.
    """
    return app.command(name, cls=Command)


def split_docstring(docstring: str | None) -> tuple[str, list[str]]:
    """Return a docstring's text, a line for each paragraph, and the lines of its examples."""
    text, _, examples = inspect.cleandoc(docstring or "").partition(_EXAMPLES)
    # typer keeps the line breaks of all but the first paragraph, wherever the terminal ends
    paragraphs = [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]
    return "\n\n".join(paragraphs).strip(), inspect.cleandoc(examples).splitlines()


def _epilog(examples: list[str]) -> str | None:
    if not examples:
        return None
    from rich.markup import escape

    starts = [not before.endswith("\\") for before in ["", *examples[:-1]]]
    prompted = [
        f"{'$' if is_start else ' '} {line}"
        for line, is_start in zip(examples, starts, strict=True)
    ]
    return "[bold]Example[/bold]\n" + escape("\n".join(prompted))


def _shown_well(param: Any, ctx: Any) -> Any:  # noqa: ANN401 - classes that typer does not export
    """Return a parameter with a panel, and with the name of its value rather than of its type."""
    if param.param_type_name == "option" and param.rich_help_panel is None:
        param.rich_help_panel = Panel.OTHER.value
    if param.metavar is None:
        label = str(param.display_type(ctx))
        param.metavar = _METAVARS.get(label)
        if "|" in label and len(label) > _WIDEST_CHOICES:
            *others, last = label.strip("<>").split("|")
            param.metavar = "NAME"
            param.help = f"{(param.help or '').removesuffix('.')}: {', '.join(others)} or {last}."
    return param


def _use_readable_styles() -> None:
    from typer import rich_utils

    for name, style in _STYLES.items():
        setattr(rich_utils, name, style)
