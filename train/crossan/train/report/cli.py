"""``crossan report``."""

from __future__ import annotations

from pathlib import Path
from time import monotonic
from typing import Annotated

import typer

from crossan.common.console import AsJson, Panel, note, print_json, print_text
from crossan.train.options import RunCache, RunDataset

__all__ = ["report"]

_SILENT_SECONDS = 2.0


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            help="Run folders and sweep folders; runs of the same settings but for their seeds"
            " are one row.",
        ),
    ],
    dataset: RunDataset = None,
    cache: RunCache = None,
    compare: Annotated[
        list[Path] | None,
        typer.Option(
            "--compare",
            metavar="RUN",
            help="Another run to set beside it, as if it were one more RUN; repeatable.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="File to write; default: report.html in the first RUN.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help="Read the folders of the runs alone: no items, and no analysis that is not"
            " there yet.",
            rich_help_panel=Panel.LIMITS,
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write report.html: results with intervals, slices, curves, gates, items, provenance.

    Of a sweep it shows what was tried by validation, and test figures of the chosen setting alone.

    Examples
    --------
    crossan report runs/seed0 runs/seed1 runs/sasrec --out report.html
    """
    from crossan.train.report.page import Elsewhere, write_report

    started = monotonic()
    target = out or runs[0] / "report.html"
    places = [*runs, *(compare or [])]
    write_report(places, target, Elsewhere(dataset, cache), should_compute=not quick)
    seconds = monotonic() - started
    if as_json:
        print_json({"report": str(target)})
    else:
        print_text(str(target))
    took = f", made in {seconds:.1f} s" if seconds > _SILENT_SECONDS else ""
    note(f"open it in a browser; it needs no network{took}")
