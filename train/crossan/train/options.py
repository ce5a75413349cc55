"""The options that several training commands share, and the settings they stand for."""

from __future__ import annotations

import re
import shlex
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
    "SETTING_OF_FLAG",
    "AsJson",
    "BatchSize",
    "CacheFolder",
    "Config",
    "DatasetFolder",
    "Device",
    "DropItems",
    "Epochs",
    "LearningRate",
    "MaskHistory",
    "MaxDeviceMemory",
    "MaxRam",
    "Modalities",
    "Patience",
    "Residence",
    "RunArgument",
    "Seed",
    "explain_setting",
    "modalities",
    "run_settings",
]

# As `settings.HistoryMask` and `features.Residence`, which --help has no time to import; a test compares them.
_HistoryMask = Literal["all", "unseen-only", "none"]
_Residence = Literal["auto", "device", "host", "streamed"]

SETTING_OF_FLAG = {
    "--dataset": "data.dataset",
    "--cache": "data.cache",
    "--modality": "data.modality",
    "--store": "data.store",
    "--drop-items": "data.drop_items",
    "--model": "model.kind",
    "--max-items": "data.max_items",
    "--init": "init",
    "--lr": "optimiser.lr",
    "--batch-size": "batch_size",
    "--epochs": "max_epochs",
    "--patience": "patience",
    "--seed": "seed",
    "--mask-history": "mask_history",
    "--reference": "reference",
}
"""The dotted name of the setting that a flag gives."""

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
LearningRate = Annotated[
    float | None,
    typer.Option(
        "--lr",
        help="Learning rate of fusion and sequence encoder (optimiser.lr); the side adapters have"
        " their own, optimiser.adapter_lr; default: 0.001.",
        rich_help_panel=Panel.SETTINGS,
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        "--batch-size",
        help="Users per step (batch_size); default: 128.",
        rich_help_panel=Panel.SETTINGS,
    ),
]
Epochs = Annotated[
    int | None,
    typer.Option(
        "--epochs",
        help="Epochs at most (max_epochs); default: 100.",
        rich_help_panel=Panel.SETTINGS,
    ),
]
Patience = Annotated[
    int | None,
    typer.Option(
        "--patience",
        help="Epochs without a better validation HR@10 before training stops (patience);"
        " default: 10.",
        rich_help_panel=Panel.SETTINGS,
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        "--seed",
        help="Seed of weights, order and dropout (seed); default: 0.",
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


def run_settings(
    flags: Mapping[str, Any], config: Sequence[Path], assignments: Sequence[str]
) -> RunSettings:
    """Return the settings that a command line asks for.

    Parameters
    ----------
    flags
        Values of the flags of `SETTING_OF_FLAG` that the command has, ``--dataset`` among them;
        None where one was not given.
    config, assignments
        What ``--config`` and ``--set`` gave.

    Raises
    ------
    UsageError
        A setting is wrong.
    """
    from crossan.common.config import FlagValue, load_settings
    from crossan.train.settings import RunSettings

    given = [
        FlagValue(flag, SETTING_OF_FLAG[flag], value)
        for flag, value in flags.items()
        if value is not None
    ]
    if not config and flags["--dataset"] is None:
        given.append(FlagValue("current folder", "data.dataset", str(Path.cwd())))
    return load_settings(RunSettings, files=config, flags=given, assignments=assignments)


def explain_setting(option: str, value: str | None) -> str | None:
    """Return how to give a setting that was typed as if it had an option of its own.

    Parameters
    ----------
    option
        What was typed: a setting's whole name or its last part, in dots, dashes or underscores.
    value
        What stands behind it; None where nothing does.
    """
    from crossan.common.config import settings_in
    from crossan.train.settings import RunSettings

    typed = _words(option)
    kinds: dict[str, bool] = {}
    for setting in settings_in(RunSettings):
        last = setting.name.rpartition(".")[2]
        if typed in {_words(setting.name), _words(last)} or option in _flags_of(setting.name):
            kinds[setting.name] = setting.field.annotation is bool
    given = [
        f"--set {shlex.quote(f'{name}={_shown(value, is_switch=is_switch)}')}"
        for name, is_switch in kinds.items()
    ]
    return f"it is a setting: {' or '.join(given)}" if given else None


def _words(name: str) -> tuple[str, ...]:
    return tuple(re.split(r"[-_.]+", name.strip("-_.").lower()))


def _flags_of(setting: str) -> list[str]:
    return [flag for flag, name in SETTING_OF_FLAG.items() if name == setting]


def _shown(value: str | None, *, is_switch: bool) -> str:
    if value is None:
        return "true" if is_switch else "VALUE"
    return value


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
