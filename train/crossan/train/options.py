"""The options that several training commands share, and what they come to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crossan.common.modalities import ALL, parse_modalities

if TYPE_CHECKING:
    from crossan.train.settings import RunSettings

__all__ = [
    "HISTORY_MASKS",
    "AsJson",
    "Device",
    "MaskHistory",
    "MaxDeviceMemory",
    "MaxRam",
    "Residence",
    "RunArgument",
    "modalities",
    "run_settings",
]

HISTORY_MASKS = ("all", "unseen-only", "none")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, ...")]
Residence = Annotated[
    str,
    typer.Option(
        "--residence",
        help="Where hidden states are kept: device, host (RAM), streamed (in their stores), auto.",
    ),
]
MaxRam = Annotated[
    str | None,
    typer.Option(
        "--max-ram",
        metavar="SIZE",
        help="RAM for features, for example 8GiB; default: most of what is free.",
    ),
]
MaxDeviceMemory = Annotated[
    str | None,
    typer.Option(
        "--max-device-memory", metavar="SIZE", help="The same of an accelerator's memory."
    ),
]
MaskHistory = Annotated[
    str | None,
    typer.Option(
        "--mask-history",
        help="Items before the target left out of the ranking: all, unseen-only, none.",
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
