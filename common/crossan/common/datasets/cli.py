"""``crossan data``: import a dataset, add to it, examine and export it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from crossan.common.console import (
    AsJson,
    Column,
    Panel,
    add_command,
    app_settings,
    print_fields,
    print_json,
    print_table,
    print_text,
    printable,
)
from crossan.common.datasets.export_command import export
from crossan.common.datasets.options import (
    Audio,
    Columns,
    Images,
    Interactions,
    Items,
    MaxItems,
    MediaElsewhere,
    MinItems,
    Sequences,
    SplitOption,
    SplitSeed,
    TimeUnitOption,
    Video,
    chosen_split,
    media_folders,
    parse_columns,
)
from crossan.common.datasets.update_command import update

__all__ = ["app"]

app = typer.Typer(help="Import, examine and generate datasets.", **app_settings())
add_command(app, "update")(update)
add_command(app, "export")(export)

_MEDIA_COUNTS = ("present", "absent", "missing", "broken")
_LICENCES = {"microlens": "MicroLens research release: no redistribution"}


@add_command(app, "import")
def import_dataset(
    source: Annotated[
        Path, typer.Argument(metavar="SRC", help="Folder of the files, or one table.")
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out", metavar="FOLDER", help="Dataset folder to write.", rich_help_panel=Panel.WHAT
        ),
    ],
    source_format: Annotated[
        Literal["microlens", "iisan", "mmrec", "recbole", "table"] | None,
        typer.Option(
            "--format",
            help="How SRC is laid out; default: what its files show.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = None,
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
    interactions: Interactions = None,
    sequences: Sequences = None,
    items: Items = None,
    images: Images = None,
    video: Video = None,
    audio: Audio = None,
    media_elsewhere: MediaElsewhere = False,
    column: Columns = None,
    time_unit: TimeUnitOption = "auto",
    replace: Annotated[
        bool,
        typer.Option(
            "--replace",
            help="Put it in the place of the dataset in FOLDER; other files there stay.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    r"""Turn published files into a dataset folder; media stay where they are.

    It says what was read, matched and left out, and keeps that in FOLDER/import.json.

    Examples
    --------
    crossan data import MicroLens-50k --out microlens-50k
    crossan data import log.csv --items items.csv --images covers \
        --column item_id=article --out news
    """
    from crossan.common.datasets.folder import refuse_existing, write_dataset
    from crossan.common.datasets.formats import ImportSource
    from crossan.common.datasets.importing import read_source
    from crossan.common.datasets.printing import print_written
    from crossan.common.datasets.report import ImportRecord

    refuse_existing(out, is_replaced=replace)
    is_table = source.is_file() and interactions is None and sequences is None
    imported = read_source(
        source_format,
        ImportSource(
            root=source,
            interactions=source if is_table else interactions,
            sequences=sequences,
            items=items,
            columns=parse_columns(column or []),
            time_unit=time_unit,
            media=media_folders(images, video, audio),
            media_elsewhere=media_elsewhere,
        ),
    )
    report = imported.report
    dataset = write_dataset(
        out,
        name=name or out.absolute().name,
        source_format=report.format,
        licence=licence or _LICENCES.get(report.format, "unknown: see the publisher"),
        interactions=imported.interactions,
        items=imported.items,
        record=ImportRecord(imported=report).to_bytes(),
        is_replaced=replace,
    )
    print_written(dataset, report, as_json=as_json)


@add_command(app, "check")
def check(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="Dataset folder.")],
    max_items: MaxItems = 13,
    min_items: MinItems = 5,
    split: SplitOption = "leave-last-out",
    split_seed: SplitSeed = 0,
    workers: Annotated[
        int,
        typer.Option(
            "--workers",
            help="Threads that decode media.",
            min=1,
            rich_help_panel=Panel.COMPUTES,
        ),
    ] = 2,
    media_elsewhere: MediaElsewhere = False,
    as_json: AsJson = False,
) -> None:
    """Examine a dataset: counts, the protocol's share, media that are missing or broken.

    Examples
    --------
    crossan data check demo/dataset
    """
    from crossan.common.datasets.doctor import examine, require_match
    from crossan.common.datasets.folder import open_dataset
    from crossan.common.datasets.media_paths import require_some_media

    opened = open_dataset(dataset)
    report = examine(
        opened,
        max_items=max_items,
        min_items=min_items,
        workers=workers,
        split=chosen_split(split, split_seed),
    )
    if as_json:
        print_json(report)
    else:
        _print_report(report)
    require_match(opened)
    if not media_elsewhere:
        require_some_media(opened)


def _print_report(report: dict[str, Any]) -> None:
    from crossan.common.datasets.printing import print_import, print_times
    from crossan.common.datasets.report import ImportReport, TimeRange

    kept = report["protocol"]
    which = f"the last {kept['max_items']}" if kept["split"] == "leave-last-out" else "all"
    rule = f"({which} of users with at least {kept['min_items']})"
    if kept["split"] == "fixed":
        rule = "(all of users with an interaction in training)"
    targets = f"{kept['test_targets']:,} test targets, split {kept['split']}"
    if kept["split_seed"] is not None:
        targets += f" with seed {kept['split_seed']}"
    parts = report["parts"]
    print_fields(
        [
            ("dataset", _counts(report)),
            *([] if parts is None else [("its own split", _listed(parts))]),
            ("kept", f"{_counts(kept)} {rule}"),
            ("held out", targets),
        ]
    )
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
    print_times(TimeRange.model_validate(report["times"]))
    for key, command in (("imported", "import"), ("updated", "update")):
        if report[key] is not None:
            print_text(f"\nits last {command}")
            print_import(ImportReport.model_validate(report[key]))


def _counts(counts: dict[str, Any]) -> str:
    return _listed({name: counts[name] for name in ("users", "items", "interactions")})


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())
