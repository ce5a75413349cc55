"""Options that many commands share, and values that Tab completes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from crossan.common.console.panels import Panel

__all__ = ["AsJson", "Device", "complete_from"]

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


def complete_from(names: Sequence[str]) -> Callable[[str], list[str]]:
    """Return a function that completes one of ``names``, or the last of a comma list of them."""

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        chosen = before.split(",") if comma else []
        return [
            f"{before}{comma}{name}"
            for name in names
            if name.startswith(last) and name not in chosen
        ]

    return complete


Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="DEVICE",
        help="auto, cpu, cuda, or one of several as cuda:1.",
        autocompletion=complete_from(["auto", "cpu", "cuda"]),
        rich_help_panel=Panel.COMPUTES,
    ),
]
