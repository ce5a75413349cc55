"""The stores that a recipe reads: the commands that make them, and which of a cache they are."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from crossan.cache_schema.errors import CrossanError, UsageError
from crossan.common.console import heading
from crossan.train.recipes.catalogue import sources_of
from crossan.train.recipes.recipe import Recipe, StoreSource

if TYPE_CHECKING:
    from crossan.cache_schema.identity import StoreIdentity

__all__ = ["StepError", "extract_commands", "is_made_as", "named_stores", "run_step", "text_store"]

_TOGETHER = (("text",), ("image",), ("video", "audio"))
"""Sound and video are decoded once for both."""
_LOCAL = "local/"
"""Begins the id of a backbone from a folder, whose name on the hub no store records."""


class StepError(CrossanError):
    """A command that a recipe needs ended badly."""

    exit_code = 1


def extract_commands(
    recipe: Recipe, dataset: Path, cache: Path, more: Sequence[str] = ()
) -> list[list[str]]:
    """Return the commands that make a recipe's features of a dataset, none where it reads none.

    Each is the paper's backbone with the paper's layers, unless the recipe names its stores. They
    go on where they were interrupted and do nothing twice.

    Parameters
    ----------
    recipe
        What is to be run on the features.
    dataset, cache
        Folder of the dataset and folder of stores.
    more
        Further words for each ``crossan-extract``, for example ``["--device", "cuda"]``.
    """
    sources = sources_of(recipe)
    if sources:
        return [_command_of(source, dataset, cache, more) for source in sources]
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


def _command_of(source: StoreSource, dataset: Path, cache: Path, more: Sequence[str]) -> list[str]:
    if source.made_by is not None:
        names = {"dataset": shlex.quote(str(dataset)), "cache": shlex.quote(str(cache))}
        return shlex.split(source.made_by.format(**names))
    command = ["crossan-extract", "--modality", source.modality]
    command += ["--dataset", str(dataset), "--cache", str(cache), "--backbone", source.backbone]
    command += ["--layers", ",".join(map(str, source.layers))]
    command += [] if source.pooling is None else ["--pooling", source.pooling]
    return [*command, *more]


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

    if recipe.stores or Modality.TEXT.value not in recipe.modality:
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


def is_made_as(source: StoreSource, identity: StoreIdentity) -> bool:
    """Whether a store has the features that a recipe names.

    The same checkpoint may come from the hub or from a folder, whose path no store records: one
    from a folder counts where its width, its layers and its pooling are the same.
    """
    backbone = str(identity.backbone.get("id"))
    is_local = source.made_by is None and backbone.startswith(_LOCAL)
    is_pooled_alike = source.pooling is None or identity.capture.get("pooling") == source.pooling
    return (
        identity.modality.value == source.modality
        and (backbone == source.backbone or is_local)
        and identity.dim == source.dim
        and tuple(identity.layers) == source.layers
        and is_pooled_alike
    )


def named_stores(recipe: Recipe, cache: Path, dataset: str) -> list[Path]:
    """Return the stores that a recipe names, in its order.

    Parameters
    ----------
    recipe
        What is to be run; one that names no stores has none.
    cache
        Folder of stores.
    dataset
        Name of the dataset.

    Raises
    ------
    UsageError
        A store is missing, or there are several of one kind.
    """
    from crossan.cache_schema.modality import Modality
    from crossan.common.stores.folders import find_stores, read_identity

    chosen = []
    for source in recipe.stores:
        stores = find_stores(cache, dataset, Modality(source.modality))
        fitting = [store for store in stores if is_made_as(source, read_identity(store))]
        if len(fitting) != 1:
            names = ", ".join(store.name for store in fitting or stores) or "none"
            layers = ",".join(map(str, source.layers))
            raise UsageError(
                f"{recipe.name}: expected one {source.modality} store by {source.backbone} with"
                f" layers {layers} of {source.dim} numbers in {cache}, found"
                f" {f'{len(fitting)}: {names}' if fitting else names}",
                remedy="Name the one to read, and every other store of the recipe: --store FOLDER"
                if fitting
                else f"crossan recipe extract {recipe.name} --dataset D --cache {cache}",
            )
        chosen.append(fitting[0])
    return chosen
