"""``crossan compare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from crossan.common.console import AsJson, Panel, print_json, print_text

if TYPE_CHECKING:
    from crossan.train.comparison.measuring import Comparison

__all__ = ["compare"]

_Format = Literal["text", "json", "csv", "latex", "markdown"]
_Part = Literal["valid", "test"]


def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...",
            help="Run and sweep folders; NAME=FOLDER gives a row its name. Seeds of one setting"
            " are one row; of a sweep the chosen setting is.",
        ),
    ],
    part: Annotated[
        _Part | None,
        typer.Option(
            "--part",
            metavar="valid|test",
            help="Which figures; default: test where all runs have them.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            "--baseline",
            metavar="ROW",
            help="Row that others are held against, by its name or folder; default: the first.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="File to write in place of stdout.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = None,
    level: Annotated[
        float,
        typer.Option(
            "--level",
            metavar="LEVEL",
            min=0.5,
            max=0.9999,
            help="Of intervals; stars are given at 1 less it.",
            rich_help_panel=Panel.SETTINGS,
        ),
    ] = 0.95,
    seed: Annotated[
        int,
        typer.Option(
            "--seed",
            metavar="N",
            min=0,
            help="Of the draws behind intervals.",
            rich_help_panel=Panel.SETTINGS,
        ),
    ] = 0,
    output_format: Annotated[
        _Format,
        typer.Option(
            "--format",
            metavar="text|json|csv|latex|markdown",
            help="What is printed or written.",
        ),
    ] = "text",
    as_json: AsJson = False,
) -> None:
    """Set runs side by side: figures, spread between seeds, and tests of differences.

    Examples
    --------
    crossan compare runs/first runs/second
    crossan compare ours=sweeps/rates runs/popularity --baseline popularity --format latex --out table.tex
    """
    from crossan.train.comparison.measuring import compare_rows, part_of
    from crossan.train.comparison.rows import baseline_of, rows_of
    from crossan.train.comparison.writing import require_place, write_comparison

    chosen_format = "json" if as_json else output_format
    if out is not None:
        require_place(out)
    rows = rows_of(runs)
    chosen_part, notes = part_of(rows, part)
    comparison = compare_rows(
        rows, chosen_part, baseline_of(rows, baseline), notes=notes, level=level, seed=seed
    )
    if out is not None:
        write_comparison(comparison, chosen_format, out)
    if as_json and out is not None:
        print_json({"comparison": str(out)})
    elif out is not None:
        print_text(str(out))
    else:
        _print(comparison, chosen_format)


def _print(comparison: Comparison, output_format: _Format) -> None:
    from crossan.train.comparison.machines import as_json
    from crossan.train.comparison.printing import print_comparison
    from crossan.train.comparison.writing import text_of

    if output_format == "json":
        print_json(as_json(comparison))
    elif output_format == "text":
        print_comparison(comparison)
    else:
        typer.echo(text_of(comparison, output_format), nl=False)
