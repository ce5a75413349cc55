"""The options of ``--engine ray`` that commands share."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from crossan.common.console import Panel, complete_from

__all__ = ["Address", "Engine", "GpusPerWorker", "Workers"]

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
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        help="Ray workers; default: one per accelerator asked for, else one per node.",
        rich_help_panel=Panel.CLUSTER,
    ),
]
GpusPerWorker = Annotated[
    float | None,
    typer.Option(
        "--gpus-per-worker",
        min=0,
        help="Accelerators that each Ray worker holds; crossan-extract takes a share of one, too.",
        rich_help_panel=Panel.CLUSTER,
    ),
]
