"""``crossan data``: import a dataset and examine it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from crossan.cache_schema.errors import UsageError
from crossan.common.console import app_settings, note, print_json

__all__ = ["app"]

app = typer.Typer(help="Import, examine and generate datasets.", **app_settings())

_Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
_Out = Annotated[Path, typer.Option("--out", help="Dataset folder to write.")]


@app.command("import")
def import_dataset(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="Folder of the files to import.")],
    out: _Out,
    source_format: Annotated[
        str, typer.Option("--format", help="microlens, iisan, mmrec or table.")
    ],
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the dataset; default: that of OUT.")
    ] = None,
    licence: Annotated[
        str | None, typer.Option("--licence", help="Licence note to keep with the dataset.")
    ] = None,
    interactions: Annotated[
        Path | None, typer.Option(help="table, mmrec: one row per interaction, with a header.")
    ] = None,
    sequences: Annotated[
        Path | None, typer.Option(help="table: lines of 'user TAB item item ...'.")
    ] = None,
    items: Annotated[
        Path | None, typer.Option(help="table, mmrec: one row per item, with a header.")
    ] = None,
    column: Annotated[
        list[str] | None, typer.Option(metavar="OURS=THEIRS", help="Name of a column, repeatable.")
    ] = None,
    time_unit: Annotated[str, typer.Option(help="Unit of timestamps: ms or s.")] = "ms",
    is_json: _Json = False,
) -> None:
    """Turn published files into a dataset folder; media stay where they are."""
    from crossan.common.datasets.folder import refuse_existing, write_dataset
    from crossan.common.datasets.importers import ImportSource, read_source

    if time_unit not in {"ms", "s"}:
        raise UsageError(f"--time-unit {time_unit}: expected ms or s")
    refuse_existing(out)
    wanted = ImportSource(
        root=source,
        interactions=interactions,
        sequences=sequences,
        items=items,
        columns=_parse_columns(column or []),
        time_unit=time_unit,
    )
    found = read_source(source_format, wanted)
    dataset = write_dataset(
        out,
        name=name or out.absolute().name,
        source_format=source_format,
        licence=licence or _LICENCES.get(source_format, "unknown: see the publisher"),
        interactions=found[0],
        items=found[1],
    )
    if is_json:
        print_json({"dataset": str(dataset.root), "name": dataset.name, **dataset.counts})
        return
    counts = ", ".join(f"{count:,} {what}" for what, count in dataset.counts.items())
    print(f"{dataset.root}: {counts}")
    note(f"licence: {dataset.licence}")


@app.command("check")
def check(
    dataset: Annotated[Path, typer.Argument(metavar="D", help="Dataset folder.")],
    max_items: Annotated[int, typer.Option(help="Items kept per user, the last ones.")] = 13,
    min_items: Annotated[int, typer.Option(help="Users with fewer interactions are left out.")] = 5,
    workers: Annotated[int, typer.Option(help="Threads that decode media.", min=1)] = 2,
    is_json: _Json = False,
) -> None:
    """Examine a dataset: counts, the protocol's share, media that are missing or broken."""
    from crossan.common.datasets.doctor import examine
    from crossan.common.datasets.folder import open_dataset

    report = examine(
        open_dataset(dataset), max_items=max_items, min_items=min_items, workers=workers
    )
    if is_json:
        print_json(report)
    else:
        _show(report)


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


def _show(report: dict[str, Any]) -> None:
    print(
        f"users {report['users']:,}   items {report['items']:,}   interactions {report['interactions']:,}"
    )
    kept = report["protocol"]
    print(
        f"kept: users {kept['users']:,}   items {kept['items']:,}   interactions {kept['interactions']:,}"
        f"   (last {kept['max_items']} of users with at least {kept['min_items']})"
    )
    print(f"{'':<8}{'present':>9}{'absent':>9}{'missing':>9}{'broken':>9}")
    for modality, counts in report["media"].items():
        print(
            f"{modality:<8}"
            + "".join(f"{counts[kind]:>9,}" for kind in ("present", "absent", "missing", "broken"))
        )
    for problem in report["problems"]:
        print(f"- {problem['what']}: {problem['count']:,}")
        for example in problem["examples"]:
            print(f"    {example}")
