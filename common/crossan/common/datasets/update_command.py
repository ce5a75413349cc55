"""``crossan data update``: add to a dataset what has come since."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crossan.common.console import AsJson
from crossan.common.datasets.options import (
    Audio,
    Columns,
    Images,
    Interactions,
    Items,
    MediaElsewhere,
    Sequences,
    TimeUnitOption,
    Video,
    media_folders,
    parse_columns,
)

__all__ = ["update"]


def update(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="Dataset folder to add to.")],
    interactions: Interactions = None,
    sequences: Sequences = None,
    items: Items = None,
    images: Images = None,
    video: Video = None,
    audio: Audio = None,
    media_elsewhere: MediaElsewhere = False,
    column: Columns = None,
    time_unit: TimeUnitOption = "auto",
    as_json: AsJson = False,
) -> None:
    """Add interactions, items and media to a dataset; what it has already is left out.

    Logs may overlap. A title or a medium that is another now replaces that of before.

    Examples
    --------
    crossan data update news --interactions today.csv --items new-items.csv --images covers
    """
    from crossan.common.datasets.formats import ImportSource
    from crossan.common.datasets.printing import print_written
    from crossan.common.datasets.updating import update_dataset

    source = ImportSource(
        root=dataset,
        interactions=interactions,
        sequences=sequences,
        items=items,
        columns=parse_columns(column or []),
        time_unit=time_unit,
        media=media_folders(images, video, audio),
        media_elsewhere=media_elsewhere,
    )
    updated, report = update_dataset(dataset, source)
    print_written(updated, report, as_json=as_json)
