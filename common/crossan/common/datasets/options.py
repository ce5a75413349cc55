"""Options that several commands of ``crossan data`` share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from crossan.cache_schema.errors import UsageError
from crossan.cache_schema.modality import Modality
from crossan.common.console import Panel
from crossan.common.split import Split, SplitName

__all__ = [
    "Audio",
    "Columns",
    "Images",
    "Interactions",
    "Items",
    "MaxItems",
    "MediaElsewhere",
    "MinItems",
    "Sequences",
    "SplitOption",
    "SplitSeed",
    "TimeUnitOption",
    "Video",
    "chosen_split",
    "media_folders",
    "parse_columns",
]

Interactions = Annotated[
    Path | None,
    typer.Option(
        "--interactions",
        metavar="FILE",
        help="One row per interaction, with a header.",
        rich_help_panel=Panel.WHAT,
    ),
]
Sequences = Annotated[
    Path | None,
    typer.Option(
        "--sequences",
        metavar="FILE",
        help="Lines of 'user TAB item item ...', the oldest item first.",
        rich_help_panel=Panel.WHAT,
    ),
]
Items = Annotated[
    Path | None,
    typer.Option(
        "--items",
        metavar="FILE",
        help="One row per item, with a header.",
        rich_help_panel=Panel.WHAT,
    ),
]
Images = Annotated[
    Path | None,
    typer.Option(
        "--images",
        metavar="FOLDER",
        help="Images named by item id.",
        rich_help_panel=Panel.WHAT,
    ),
]
Video = Annotated[
    Path | None,
    typer.Option(
        "--video",
        metavar="FOLDER",
        help="Videos named by item id.",
        rich_help_panel=Panel.WHAT,
    ),
]
Audio = Annotated[
    Path | None,
    typer.Option(
        "--audio",
        metavar="FOLDER",
        help="Sounds named by item id; default: the sound tracks of the videos.",
        rich_help_panel=Panel.WHAT,
    ),
]
MediaElsewhere = Annotated[
    bool,
    typer.Option(
        "--media-elsewhere",
        help="Paths of media may all be those of another machine.",
        rich_help_panel=Panel.WHAT,
    ),
]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        metavar="OURS=THEIRS",
        help="Name of a column; repeatable.",
        rich_help_panel=Panel.WHAT,
    ),
]
TimeUnitOption = Annotated[
    Literal["auto", "s", "ms", "us", "ns"],
    typer.Option(
        "--time-unit",
        help="Unit of timestamps that are numbers; auto: the one that puts all in 1990 to 2100.",
        rich_help_panel=Panel.WHAT,
    ),
]
MaxItems = Annotated[
    int,
    typer.Option(
        "--max-items",
        help="Items kept per user, the last ones.",
        rich_help_panel=Panel.SETTINGS,
    ),
]
MinItems = Annotated[
    int,
    typer.Option(
        "--min-items",
        help="Users with fewer interactions are left out.",
        rich_help_panel=Panel.SETTINGS,
    ),
]
SplitOption = Annotated[
    SplitName,
    typer.Option(
        "--split",
        help="Which interactions are held out: the last two of each user, some at random, or what"
        " the dataset itself says.",
        rich_help_panel=Panel.SETTINGS,
    ),
]
SplitSeed = Annotated[
    int,
    typer.Option(
        "--split-seed",
        metavar="N",
        min=0,
        max=2**32 - 1,
        help="Seed of --split mmrec-random.",
        rich_help_panel=Panel.SETTINGS,
    ),
]
_OUR_COLUMNS = ("user_id", "item_id", "timestamp", "part", "title", "image", "video", "audio")


def parse_columns(texts: list[str]) -> dict[str, str]:
    """Return the names that ``--column`` gives, by ours.

    Raises
    ------
    UsageError
        One is not ``OURS=THEIRS``, or names ours twice.
    """
    columns: dict[str, str] = {}
    for text in texts:
        ours, equals, theirs = text.partition("=")
        if not equals or not theirs or ours not in _OUR_COLUMNS:
            raise UsageError(
                f"--column {text}: expected OURS=THEIRS with OURS one of {', '.join(_OUR_COLUMNS)}"
            )
        if ours in columns:
            raise UsageError(f"--column {text}: {ours} is {columns[ours]} already")
        columns[ours] = theirs
    return columns


def chosen_split(name: SplitName, seed: int) -> Split:
    """Return the split that the options name.

    Raises
    ------
    UsageError
        A seed that would not be read.
    """
    split = Split(name, seed)
    if seed and not split.is_random:
        raise UsageError(
            f"--split-seed {seed}: expected none with --split {name}, which draws nothing",
            remedy="--split mmrec-random",
        )
    return split


def media_folders(
    images: Path | None, video: Path | None, audio: Path | None
) -> dict[Modality, Path]:
    """Return the folders that were named, by what they hold."""
    named = {Modality.IMAGE: images, Modality.VIDEO: video, Modality.AUDIO: audio}
    return {modality: folder for modality, folder in named.items() if folder is not None}
