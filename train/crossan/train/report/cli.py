"""``crossan report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crossan.common.console import note, print_json

__all__ = ["report"]


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")],
    compare: Annotated[
        Path | None, typer.Option("--compare", metavar="RUN", help="Another run to set beside it.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write; default: RUN/report.html.")
    ] = None,
    is_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on stdout.")
    ] = False,
) -> None:
    """Write report.html: results, loss and metric curves, the gate heat map."""
    from crossan.train.report.page import write_report

    target = out or run / "report.html"
    write_report([run] if compare is None else [run, compare], target)
    if is_json:
        print_json({"report": str(target)})
    else:
        print(target)
        note("open it in a browser; it needs no network")
