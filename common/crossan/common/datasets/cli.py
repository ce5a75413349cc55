"""``crossan data``: import a dataset and examine it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from crossan.cache_schema.errors import UsageError
from crossan.common.console import (
    AsJson,
    Column,
    Panel,
    add_command,
    app_settings,
    note,
    print_fields,
    print_json,
    print_table,
    print_text,
    printable,
)

__all__ = ["app"]

app = typer.Typer(help="Import, examine and generate datasets.", **app_settings())

_MEDIA_COUNTS = ("present", "absent", "missing", "broken")


@add_command(app, "import")
def import_dataset(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="Folder of the files to import.")],
    out: Annotated[
        Path,
        typer.Option(
            "--out", metavar="FOLDER", help="Dataset folder to write.", rich_help_panel=Panel.WHAT
        ),
    ],
    source_format: Annotated[
        Literal["microlens", "iisan", "mmrec", "table"],
        typer.Option("--format", help="How SRC is laid out.", rich_help_panel=Panel.WHAT),
    ],
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            metavar="NAME",
            help="Name of the dataset; default: that of the folder.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option(
            "--licence",
            help="Licence note to keep with the dataset.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = None,
    interactions: Annotated[
        Path | None,
        typer.Option(
            "--interactions",
            metavar="FILE",
            help="One row per interaction, with a header (table, mmrec).",
            rich_help_panel=Panel.WHAT,
        ),
    ] = None,
    sequences: Annotated[
        Path | None,
        typer.Option(
            "--sequences",
            metavar="FILE",
            help="Lines of 'user TAB item item ...' (table).",
            rich_help_panel=Panel.WHAT,
        ),
    ] = None,
    items: Annotated[
        Path | None,
        typer.Option(
            "--items",
            metavar="FILE",
            help="One row per item, with a header (table, mmrec).",
            rich_help_panel=Panel.WHAT,
        ),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            "--column",
            metavar="OURS=THEIRS",
            help="Name of a column; repeatable.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = None,
    time_unit: Annotated[
        Literal["auto", "s", "ms", "us", "ns"],
        typer.Option(
            "--time-unit",
            help="Unit of timestamps that are numbers; auto: the one that puts all in 1990 to 2100.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = "auto",
    as_json: AsJson = False,
) -> None:
    r"""Turn published files into a dataset folder; media stay where they are.

    Examples
    --------
    crossan data import MicroLens-50k --format microlens --out microlens-50k
    crossan data import files --format table --interactions files/log.csv \
        --column user_id=user --column item_id=article --out news
    """
    from crossan.common.datasets.folder import refuse_existing, write_dataset
    from crossan.common.datasets.importers import ImportSource, read_source

    refuse_existing(out)
    request = ImportSource(
        root=source,
        interactions=interactions,
        sequences=sequences,
        items=items,
        columns=_parse_columns(column or []),
        time_unit=time_unit,
    )
    interaction_table, item_table = read_source(source_format, request)
    dataset = write_dataset(
        out,
        name=name or out.absolute().name,
        source_format=source_format,
        licence=licence or _LICENCES.get(source_format, "unknown: see the publisher"),
        interactions=interaction_table,
        items=item_table,
    )
    if as_json:
        print_json({"dataset": str(dataset.root), "name": dataset.name, **dataset.counts})
        return
    counts = ", ".join(f"{count:,} {what}" for what, count in dataset.counts.items())
    print_text(f"{dataset.root}: {counts}")
    note(f"licence: {dataset.licence}")


@add_command(app, "check")
def check(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="Dataset folder.")],
    max_items: Annotated[
        int,
        typer.Option(
            "--max-items",
            help="Items kept per user, the last ones.",
            rich_help_panel=Panel.SETTINGS,
        ),
    ] = 13,
    min_items: Annotated[
        int,
        typer.Option(
            "--min-items",
            help="Users with fewer interactions are left out.",
            rich_help_panel=Panel.SETTINGS,
        ),
    ] = 5,
    workers: Annotated[
        int,
        typer.Option(
            "--workers",
            help="Threads that decode media.",
            min=1,
            rich_help_panel=Panel.COMPUTES,
        ),
    ] = 2,
    as_json: AsJson = False,
) -> None:
    """Examine a dataset: counts, the protocol's share, media that are missing or broken.

    Examples
    --------
    crossan data check demo/dataset
    """
    from crossan.common.datasets.doctor import examine
    from crossan.common.datasets.folder import open_dataset

    report = examine(
        open_dataset(dataset), max_items=max_items, min_items=min_items, workers=workers
    )
    if as_json:
        print_json(report)
    else:
        _print_report(report)


_LICENCES = {"microlens": "MicroLens research release: no redistribution"}


def _parse_columns(texts: list[str]) -> dict[str, str]:
    ours_known = ("user_id", "item_id", "timestamp", "title", "image", "video", "audio")
    columns = {}
    for text in texts:
        ours, equals, theirs = text.partition("=")
        if not equals or not theirs or ours not in ours_known:
            raise UsageError(
                f"--column {text}: expected OURS=THEIRS with OURS one of {', '.join(ours_known)}"
            )
        columns[ours] = theirs
    return columns


def _print_report(report: dict[str, Any]) -> None:
    kept = report["protocol"]
    rule = f"(the last {kept['max_items']} of users with at least {kept['min_items']})"
    print_fields([("dataset", _counts(report)), ("kept", f"{_counts(kept)} {rule}")])
    print_table(
        [Column("modality"), *(Column(kind, is_number=True) for kind in _MEDIA_COUNTS)],
        [
            [modality, *(f"{counts[kind]:,}" for kind in _MEDIA_COUNTS)]
            for modality, counts in report["media"].items()
        ],
    )
    for problem in report["problems"]:
        print_text(f"- {problem['what']}: {problem['count']:,}")
        for example in problem["examples"]:
            print_text(f"    {printable(example)}")


def _counts(counts: dict[str, Any]) -> str:
    names = ("users", "items", "interactions")
    return ", ".join(f"{counts[name]:,} {name}" for name in names)
