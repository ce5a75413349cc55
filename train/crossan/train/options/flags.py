"""The settings that options stand for."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossan.common.modalities import ALL, parse_modalities

if TYPE_CHECKING:
    from crossan.common.config import Base
    from crossan.train.settings import RunSettings

__all__ = ["SETTING_OF_FLAG", "explain_setting", "modalities", "run_settings"]

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


def run_settings(
    flags: Mapping[str, Any],
    config: Sequence[Path],
    assignments: Sequence[str],
    bases: Sequence[Base] = (),
) -> RunSettings:
    """Return the settings that a command line asks for.

    Parameters
    ----------
    flags
        Values of the flags of `SETTING_OF_FLAG` that the command has, ``--dataset`` among them;
        None where one was not given.
    config, assignments
        What ``--config`` and ``--set`` gave.
    bases
        What stands below all of that: the settings of ``--recipe``.

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
    return load_settings(
        RunSettings, files=config, flags=given, assignments=assignments, bases=bases
    )


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
    """Return the modalities that ``--modality`` names, in their order, or None for all.

    Raises
    ------
    UsageError
        There is no such modality.
    """
    if text is None or text.strip() == ALL:
        return None
    return [modality.value for modality in parse_modalities(text)]
