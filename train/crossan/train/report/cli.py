"""``crossan report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crossan.common.console import AsJson, Panel, note, print_json, print_text
from crossan.train.options import RunArgument, RunCache, RunDataset

__all__ = ["report"]


def report(
    run: RunArgument,
    dataset: RunDataset = None,
    cache: RunCache = None,
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
    from crossan.train.report.page import Elsewhere, write_report

    target = out or run / "report.html"
    runs = [run] if compare is None else [run, compare]
    write_report(runs, target, Elsewhere(dataset, cache))
    if as_json:
        print_json({"report": str(target)})
    else:
        print_text(str(target))
        note("open it in a browser; it needs no network")
