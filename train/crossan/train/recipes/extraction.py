"""The extractions that a recipe's features come from, as commands."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from crossan.cache_schema.errors import CrossanError, UsageError
from crossan.common.console import heading
from crossan.train.recipes.recipe import Recipe

__all__ = ["StepError", "extract_commands", "run_step", "text_store"]

_TOGETHER = (("text",), ("image",), ("video", "audio"))
"""Sound and video are decoded once for both."""


class StepError(CrossanError):
    """A command that a recipe needs ended badly."""

    exit_code = 1


def extract_commands(
    recipe: Recipe, dataset: Path, cache: Path, more: Sequence[str] = ()
) -> list[list[str]]:
    """Return the commands that make a recipe's features of a dataset, none where it reads none.

    Each is the paper's backbone with the paper's layers. They go on where they
    were interrupted and do nothing twice.

    Parameters
    ----------
    recipe
        What is to be run on the features.
    dataset, cache
        Folder of the dataset and folder of stores.
    more
        Further words for each, for example ``["--device", "cuda"]``.
    """
    commands: list[list[str]] = []
    for group in () if recipe.reads_media else _TOGETHER:
        modalities = [modality for modality in group if modality in recipe.modality]
        if not modalities:
            continue
        command = ["crossan-extract", "--modality", ",".join(modalities)]
        command += ["--dataset", str(dataset), "--cache", str(cache)]
        if modalities == ["text"] and recipe.title_tokens is not None:
            command += ["--max-length", str(recipe.title_tokens)]
        commands.append([*command, *more])
    return commands


def run_step(command: Sequence[str]) -> None:
    """Run one of our commands as a process, with what it prints on stderr.

    Raises
    ------
    StepError
        It ended badly; the exit code is its own.
    """
    heading(f"$ {shlex.join(command)}")
    program = Path(sys.executable).parent / command[0]
    finished = subprocess.run([str(program), *command[1:]], check=False, stdout=sys.stderr)
    if finished.returncode != 0:
        failure = StepError(
            f"this step ended with exit code {finished.returncode}: {shlex.join(command)}"
        )
        failure.exit_code = max(finished.returncode, StepError.exit_code)
        raise failure


def text_store(recipe: Recipe, cache: Path, dataset: str) -> Path | None:
    """Return the store of titles that a recipe asks for, None where there is no choice.

    A cache may have titles cut at IISAN's 30 tokens beside whole ones. Of
    several stores the one that fits is taken, where just one does.

    Parameters
    ----------
    recipe
        What is to be run.
    cache
        Folder of stores.
    dataset
        Name of the dataset.

    Raises
    ------
    UsageError
        Titles are cut elsewhere in every store.
    """
    from crossan.cache_schema.modality import Modality
    from crossan.common.stores.folders import find_stores, read_identity

    if Modality.TEXT.value not in recipe.modality:
        return None
    stores = find_stores(cache, dataset, Modality.TEXT)
    lengths = {store: read_identity(store).inputs.get("max_length") for store in stores}
    tokens = recipe.title_tokens
    if tokens is None:
        longest = max((length for length in lengths.values() if length is not None), default=None)
        fitting = [store for store, length in lengths.items() if length == longest]
        return fitting[0] if len(stores) > 1 and len(fitting) == 1 else None
    fitting = [store for store, length in lengths.items() if length == tokens]
    if stores and not fitting:
        cuts = ", ".join(f"{length}" for length in lengths.values())
        raise UsageError(
            f"{recipe.name}: expected titles cut at {tokens} tokens, found stores of titles cut at"
            f" {cuts} in {cache}",
            remedy=f"crossan recipe extract {recipe.name} --dataset D --cache {cache}",
        )
    return fitting[0] if len(fitting) == 1 else None
