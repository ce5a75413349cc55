"""``crossan export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crossan.common.console import AsJson, Panel, print_fields, print_json
from crossan.train.options import AllowStale, RunArgument, RunCache, RunDataset

__all__ = ["export"]


def export(
    run: RunArgument,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="FOLDER",
            help="Folder to write, empty or not there.",
            rich_help_panel=Panel.WHAT,
        ),
    ],
    dataset: RunDataset = None,
    cache: RunCache = None,
    allow_stale: AllowStale = False,
    as_json: AsJson = False,
) -> None:
    """Write a run's item vectors and user encoder for programs without crossan.

    Examples
    --------
    crossan export runs/first --out exports/first
    """
    from crossan.train.export.writing import export_run, require_vacant
    from crossan.train.runs.opening import open_run

    require_vacant(out)
    opened = open_run(run, device="cpu", may_be_stale=allow_stale, dataset=dataset, cache=cache)
    manifest = export_run(opened, out, cache)
    if as_json:
        print_json({"out": str(out), **manifest})
        return
    print_fields(
        [
            ("model", manifest["model"]),
            ("items", f"{manifest['items']:,}"),
            ("width", str(manifest["width"])),
            *((name, f"{file['bytes']:,} bytes") for name, file in manifest["files"].items()),
            ("folder", str(out)),
        ]
    )
