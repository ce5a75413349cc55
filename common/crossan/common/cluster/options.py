"""The options of ``--engine ray`` that commands share."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from crossan.common.console import Panel, complete_from

__all__ = ["Address", "Engine"]

Engine = Annotated[
    Literal["local", "ray"],
    typer.Option(
        "--engine",
        help="This machine alone, or the workers of a Ray cluster.",
        rich_help_panel=Panel.CLUSTER,
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="ADDRESS",
        help="Ray cluster: local (started for this command alone), auto (this machine's)"
        " or HOST:PORT; default: RAY_ADDRESS, else local.",
        autocompletion=complete_from(["local", "auto"]),
        rich_help_panel=Panel.CLUSTER,
    ),
]
