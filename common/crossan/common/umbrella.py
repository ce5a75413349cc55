"""The ``crossan`` command: finds its groups by entry points, so that no layer imports one above it."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, entry_points
from typing import NoReturn

import typer

from crossan.common.console import app_settings, run_app

__all__ = ["build_app", "main"]

_GROUP = "crossan.commands"


def main() -> NoReturn:
    """Run ``crossan``, loading only the group that the command line names."""
    run_app(build_app(_named_command(sys.argv[1:])), "crossan")


def build_app(only: str | None = None) -> typer.Typer:
    """Build the command tree from the entry points.

    Parameters
    ----------
    only
        The one top-level name to load; None, or a name that does not exist, loads all of them.
    """
    found = {point.name: point for point in entry_points(group=_GROUP)}
    tops = sorted(name for name in found if "." not in name)
    if only in tops:
        tops = [only]
    app = typer.Typer(
        help="From raw titles, images, sounds and videos to a trained recommender.",
        **app_settings(),
    )
    app.callback()(_version_callback)
    for name in tops:
        _attach(app, name, found)
    return app


def _attach(app: typer.Typer, name: str, found: dict[str, EntryPoint]) -> None:
    target = found[name].load()
    if not isinstance(target, typer.Typer):
        app.command(name=name)(target)
        return
    for inner in sorted(inner for inner in found if inner.startswith(f"{name}.")):
        target.command(name=inner.removeprefix(f"{name}."))(found[inner].load())
    app.add_typer(target, name=name)


def _named_command(arguments: list[str]) -> str | None:
    return next((argument for argument in arguments if not argument.startswith("-")), None)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        from importlib.metadata import version

        typer.echo(version("crossan"))
        raise typer.Exit


def _version_callback(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """From raw titles, images, sounds and videos to a trained recommender."""
