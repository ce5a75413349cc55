"""``crossan data export``: write a dataset as other programs read it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from crossan.common.console import AsJson, Panel, note, print_fields, print_json, print_text
from crossan.common.datasets.options import (
    MaxItems,
    MinItems,
    SplitOption,
    SplitSeed,
    chosen_split,
)

__all__ = ["export"]


def export(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="Dataset folder.")],
    target_format: Annotated[
        Literal["mmrec", "recbole"],
        typer.Option("--format", help="Whose files to write.", rich_help_panel=Panel.WHAT),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="FOLDER",
            help="Folder to write to; its name becomes that of the files.",
            rich_help_panel=Panel.WHAT,
        ),
    ],
    max_items: MaxItems = 13,
    min_items: MinItems = 5,
    split: SplitOption = "leave-last-out",
    split_seed: SplitSeed = 0,
    as_json: AsJson = False,
) -> None:
    """Write what the protocol keeps as MMRec or RecBole read it, with the parts of the split.

    Examples
    --------
    crossan data export demo/dataset --format mmrec --out sample --split mmrec-random
    """
    from crossan.common.datasets.exporting import export_dataset
    from crossan.common.datasets.folder import open_dataset

    exported = export_dataset(
        open_dataset(dataset),
        out,
        target_format,
        max_items=max_items,
        min_items=min_items,
        split=chosen_split(split, split_seed),
    )
    facts = {**exported.facts, "files": [str(path) for path in exported.files]}
    _note_what_changed(facts)
    if as_json:
        print_json(facts)
        return
    parts = ", ".join(f"{count:,} {name}" for name, count in facts["parts"].items())
    print_fields([("written", _counts(facts)), ("parts", parts), ("licence", facts["licence"])])
    print_text("\n".join(facts["files"]))


def _note_what_changed(facts: dict[str, Any]) -> None:
    if any(facts["left_out"].values()):
        note(f"left out by the protocol: {_counts(facts['left_out'])}")
    if not facts["has_timestamps"]:
        note("no column of times, as not every interaction has one; rows are oldest first")
    if facts.get("changed_titles"):
        note(f"tabs and line ends became blanks in {facts['changed_titles']:,} titles")


def _counts(counts: dict[str, Any]) -> str:
    return ", ".join(f"{counts[name]:,} {name}" for name in ("users", "items", "interactions"))
