"""The options that several training commands share, and the settings they stand for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from crossan.cache_schema.modality import Modality
from crossan.common.console import AsJson, Panel, complete_from
from crossan.common.modalities import ALL, parse_modalities

if TYPE_CHECKING:
    from crossan.train.settings import RunSettings

__all__ = [
    "AsJson",
    "CacheFolder",
    "Config",
    "DatasetFolder",
    "Device",
    "DropItems",
    "MaskHistory",
    "MaxDeviceMemory",
    "MaxRam",
    "Modalities",
    "Residence",
    "RunArgument",
    "modalities",
    "run_settings",
]

# As `settings.HistoryMask` and `features.Residence`, which --help has no time to import; a test compares them.
_HistoryMask = Literal["all", "unseen-only", "none"]
_Residence = Literal["auto", "device", "host", "streamed"]

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")]
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
CacheFolder = Annotated[
    str | None,
    typer.Option(
        "--cache",
        metavar="FOLDER",
        envvar="CROSSAN_CACHE",
        help="Folder of stores.",
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
    _HistoryMask | None,
    typer.Option(
        "--mask-history",
        help="Which of a user's items before the target are left out of the ranking.",
        rich_help_panel=Panel.SETTINGS,
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="DEVICE",
        help="auto, cpu, cuda, or one of several as cuda:1.",
        autocompletion=complete_from(["auto", "cpu", "cuda"]),
        rich_help_panel=Panel.COMPUTES,
    ),
]
Residence = Annotated[
    _Residence,
    typer.Option(
        "--residence",
        help="Where hidden states are kept: with the model, in RAM, in their stores,"
        " or the first of these that fits.",
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


def run_settings(
    flags: Mapping[str, Any], config: Sequence[Path], assignments: Sequence[str]
) -> RunSettings:
    """Return the settings that a command line asks for.

    Parameters
    ----------
    flags
        Values of other flags by the dotted name of their setting, ``data.dataset`` among them; None where one was not
        given.
    config, assignments
        What ``--config`` and ``--set`` gave.

    Raises
    ------
    UsageError
        A setting is wrong.
    """
    from crossan.common.config import load_settings
    from crossan.train.settings import RunSettings

    given = [f"{key}={json.dumps(value)}" for key, value in flags.items() if value is not None]
    if not config and flags["data.dataset"] is None:
        given.append(f"data.dataset={json.dumps(str(Path.cwd()))}")
    return load_settings(RunSettings, files=config, assignments=[*given, *assignments])


def modalities(text: str | None) -> list[str] | None:
    """Return the modalities that ``--modality`` names, in their order; None for all that the cache holds.

    Raises
    ------
    UsageError
        There is no such modality.
    """
    if text is None or text.strip() == ALL:
        return None
    return [modality.value for modality in parse_modalities(text)]
