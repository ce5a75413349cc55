"""Arguments and options that several training commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from crossan.cache_schema.modality import Modality
from crossan.common.console import Panel, complete_from
from crossan.common.history_mask import HistoryMask

__all__ = [
    "AllowStale",
    "Config",
    "DatasetFolder",
    "DropItems",
    "MaskHistory",
    "MaxDeviceMemory",
    "MaxRam",
    "Modalities",
    "Residence",
    "RunArgument",
    "RunCache",
    "RunDataset",
    "complete_model",
]

# As `features.Residence`, which --help has no time to import. A test compares them.
_Residence = Literal["auto", "device", "host", "streamed"]


def complete_model(incomplete: str) -> list[str]:
    """Return the kinds of model that a word may become, those of other packages among them."""
    from crossan.train.settings.kinds import model_settings_classes

    return [kind for kind in model_settings_classes() if kind.startswith(incomplete)]


RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")]
# Not from the environment: a run knows its own data, which another folder replaces on demand only.
RunDataset = Annotated[
    Path | None,
    typer.Option(
        "--dataset",
        metavar="FOLDER",
        help="Where the run's dataset lies now; default: where it was trained on it.",
        rich_help_panel=Panel.WHAT,
    ),
]
RunCache = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        metavar="FOLDER",
        help="Where the run's stores lie now; default: where it was trained on them.",
        rich_help_panel=Panel.WHAT,
    ),
]
DatasetFolder = Annotated[
    str | None,
    typer.Option(
        "--dataset",
        metavar="FOLDER",
        envvar="CROSSAN_DATASET",
        help="Dataset folder; default: the current folder.",
        rich_help_panel=Panel.WHAT,
    ),
]
Modalities = Annotated[
    str | None,
    typer.Option(
        "--modality",
        metavar="text,image,...",
        help="One of text, image, audio and video, or a comma list of them;"
        " default: all that the cache holds.",
        autocompletion=complete_from([modality.value for modality in Modality] + ["all"]),
        rich_help_panel=Panel.WHAT,
    ),
]
DropItems = Annotated[
    bool,
    typer.Option(
        "--drop-items",
        help="Leave out items that the stores cannot serve.",
        rich_help_panel=Panel.WHAT,
    ),
]
AllowStale = Annotated[
    bool,
    typer.Option(
        "--allow-stale",
        help="Go on where titles or files are not those that the stores were made from;"
        " the result says so.",
        rich_help_panel=Panel.WHAT,
    ),
]
Config = Annotated[
    list[Path] | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="TOML file of settings; repeatable, later ones win.",
        rich_help_panel=Panel.SETTINGS,
    ),
]
MaskHistory = Annotated[
    HistoryMask | None,
    typer.Option(
        "--mask-history",
        help="Which of a user's items before the target are left out of the ranking.",
        rich_help_panel=Panel.SETTINGS,
    ),
]
Residence = Annotated[
    _Residence,
    typer.Option(
        "--residence",
        help="Where hidden states are kept, with the model, in RAM or in their stores.",
        rich_help_panel=Panel.COMPUTES,
    ),
]
MaxRam = Annotated[
    str | None,
    typer.Option(
        "--max-ram",
        metavar="SIZE",
        help="RAM for features, for example 8GiB; default: most of what is free.",
        rich_help_panel=Panel.LIMITS,
    ),
]
MaxDeviceMemory = Annotated[
    str | None,
    typer.Option(
        "--max-device-memory",
        metavar="SIZE",
        help="An accelerator's memory for features; default: most of what is free.",
        rich_help_panel=Panel.LIMITS,
    ),
]
