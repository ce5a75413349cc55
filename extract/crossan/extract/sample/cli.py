"""``crossan data sample``: the built-in sample dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crossan.common.console import AsJson, Panel, print_json, print_text

__all__ = ["sample"]


def sample(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Dataset folder to write.")],
    seed: Annotated[
        int,
        typer.Option(
            "--seed",
            help="The same seed gives the same bytes.",
            min=0,
            rich_help_panel=Panel.SETTINGS,
        ),
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Write the built-in sample: 300 items with real-coded media, 1,500 users.

    Examples
    --------
    crossan data sample sample
    """
    from crossan.extract.sample.build import write_sample

    dataset = write_sample(out, seed)
    if as_json:
        print_json({"dataset": str(dataset.root), **dataset.counts})
    else:
        print_text(
            f"{dataset.root}: "
            + ", ".join(f"{count:,} {what}" for what, count in dataset.counts.items())
        )
