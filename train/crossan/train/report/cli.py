"""``crossan report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crossan.common.console import AsJson, Panel, note, print_json
from crossan.train.options import RunArgument

__all__ = ["report"]


def report(
    run: RunArgument,
    compare: Annotated[
        Path | None,
        typer.Option(
            "--compare",
            metavar="RUN",
            help="Another run to set beside it.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="File to write; default: RUN/report.html.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write report.html: results, loss and metric curves, the gate heat map.

    Examples
    --------
    crossan report runs/first --compare runs/second --out report.html
    """
    from crossan.train.report.page import write_report

    target = out or run / "report.html"
    write_report([run] if compare is None else [run, compare], target)
    if as_json:
        print_json({"report": str(target)})
    else:
        print(target)
        note("open it in a browser; it needs no network")
