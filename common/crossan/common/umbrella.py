"""The ``crossan`` command, whose groups are found by entry points.

No layer imports one above it that way.
"""

from __future__ import annotations

import os
import sys
from importlib.metadata import EntryPoint, entry_points
from typing import NoReturn

import typer

from crossan.common.console import Version, add_command, app_settings, run_app

__all__ = ["build_app", "main"]

_GROUP = "crossan.commands"


def main() -> NoReturn:
    """Run ``crossan``, loading only the group that the command line names."""
    run_app(build_app(_named_command(_words())), "crossan")


def build_app(only: str | None = None) -> typer.Typer:
    """Build the command tree from the entry points.

    Parameters
    ----------
    only
        The one top-level name to load; None, or a name that does not exist, loads all of them.
    """
    points = {point.name: point for point in entry_points(group=_GROUP)}
    tops = sorted(name for name in points if "." not in name)
    if only in tops:
        tops = [only]
    app = typer.Typer(**(app_settings() | {"add_completion": True}))
    app.callback()(_describe)
    for name in tops:
        _attach(app, name, points)
    return app


def _attach(app: typer.Typer, name: str, points: dict[str, EntryPoint]) -> None:
    target = points[name].load()
    if not isinstance(target, typer.Typer):
        add_command(app, name)(target)
        return
    for inner in sorted(inner for inner in points if inner.startswith(f"{name}.")):
        add_command(target, inner.removeprefix(f"{name}."))(points[inner].load())
    app.add_typer(target, name=name)


def _words() -> list[str]:
    """Return the words after the program's name; of a line that a shell completes, its words."""
    if "_CROSSAN_COMPLETE" not in os.environ:
        return sys.argv[1:]
    return (os.environ.get("_TYPER_COMPLETE_ARGS") or os.environ.get("COMP_WORDS", "")).split()[1:]


def _named_command(arguments: list[str]) -> str | None:
    return next((argument for argument in arguments if not argument.startswith("-")), None)


def _describe(version: Version = False) -> None:
    """From raw titles, images, sounds and videos to a trained recommender.

    Examples
    --------
    crossan demo
    crossan train --help
    """
