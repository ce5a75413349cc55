"""``crossan models``: versions of models, and which of them answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from crossan.common.console import (
    AsJson,
    Panel,
    add_command,
    app_settings,
    note,
    print_json,
    print_text,
)
from crossan.train.service.client.options import ServerFolder, ServerUrl, TokenFile, client_of

if TYPE_CHECKING:
    from crossan.train.service.client.http import Client

__all__ = ["app"]

app = typer.Typer(help="Versions of models, and which of them answers.", **app_settings())

_Version = Annotated[int, typer.Argument(metavar="MODEL", min=1, help="Number of the version.")]
_Alias = Annotated[
    str,
    typer.Option(
        "--alias",
        metavar="NAME",
        help="Alias that is moved.",
        rich_help_panel=Panel.WHAT,
    ),
]
_Expected = Annotated[
    int | None,
    typer.Option(
        "--expect",
        metavar="REVISION",
        min=0,
        help="Revision that the alias has to have still; default: the one it has now.",
        rich_help_panel=Panel.WHAT,
    ),
]


@add_command(app, "ls")
def list_models(
    before: Annotated[
        int | None,
        typer.Option(
            "--before",
            min=1,
            help="Versions with a lower number alone, to go on from an earlier list.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = None,
    limit: Annotated[
        int,
        typer.Option(
            "--limit", min=1, max=500, help="Versions at most.", rich_help_panel=Panel.WHAT
        ),
    ] = 20,
    server: ServerUrl = None,
    folder: ServerFolder = None,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """List versions, the newest first, with the figures of their judged weights.

    Examples
    --------
    crossan models ls --data service
    """
    from crossan.train.service.client.model_printing import print_models

    page = client_of(server, folder, token_file).get("/v1/models", before=before, limit=limit)
    if as_json:
        print_json(page)
    elif page["models"]:
        print_models(page["models"])
    else:
        note("no models")


@add_command(app, "show")
def show(
    version: _Version,
    server: ServerUrl = None,
    folder: ServerFolder = None,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Show a version: its figures, what its served weights were trained on, its card.

    Examples
    --------
    crossan models show 4 --data service
    """
    from crossan.train.service.client.model_printing import print_model

    model = client_of(server, folder, token_file).get(f"/v1/models/{version}")
    if as_json:
        print_json(model)
    else:
        print_model(model)


@add_command(app, "promote")
def promote(
    version: _Version,
    alias: _Alias = "production",
    expected: _Expected = None,
    server: ServerUrl = None,
    folder: ServerFolder = None,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Have an alias name this version; exit code 7 where somebody else was faster.

    Examples
    --------
    crossan models promote 4 --data service
    """
    client = client_of(server, folder, token_file)
    content = {"version": version, "expected_revision": _revision(client, alias, expected)}
    _moved(client, alias, "promote", content, as_json=as_json)


@add_command(app, "rollback")
def rollback(
    alias: _Alias = "production",
    expected: _Expected = None,
    server: ServerUrl = None,
    folder: ServerFolder = None,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Have an alias name the version before again.

    Examples
    --------
    crossan models rollback --data service
    """
    client = client_of(server, folder, token_file)
    content = {"expected_revision": _revision(client, alias, expected)}
    _moved(client, alias, "rollback", content, as_json=as_json)


def _moved(
    client: Client, alias: str, action: str, content: dict[str, Any], *, as_json: bool
) -> None:
    """Move an alias and print where it leads now."""
    from crossan.train.service.client.http import in_path

    moved = client.post(f"/v1/aliases/{in_path(alias)}/{action}", content)
    if as_json:
        print_json(moved)
    else:
        print_text(f"{moved['name']} is model {moved['version']} (revision {moved['revision']})")


def _revision(client: Client, alias: str, expected: int | None) -> int:
    """Return the revision that an alias has, 0 where it was never moved."""
    if expected is not None:
        return expected
    aliases = client.get("/v1/aliases")
    return next((int(one["revision"]) for one in aliases if one["name"] == alias), 0)
