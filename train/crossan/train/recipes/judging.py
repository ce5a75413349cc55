"""A run's result against the figure of its row, and ``recipe.json`` in the run's folder."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from crossan.cache_schema.errors import CrossanError
from crossan.common.config import dotted
from crossan.common.console import note
from crossan.common.datasets import open_dataset
from crossan.common.files import replace_durably
from crossan.common.stores.folders import read_identity
from crossan.train.ranks.ranks import Ranks
from crossan.train.recipes.catalogue import all_recipes
from crossan.train.recipes.expected import differences
from crossan.train.recipes.extraction import is_made_as
from crossan.train.recipes.recipe import LEAVE_LAST_OUT, Recipe
from crossan.train.recipes.state import BACKBONES
from crossan.train.recipes.writing import default_settings
from crossan.train.record import shapes
from crossan.train.record.backbone_lock import recorded_backbones
from crossan.train.record.refits import refit_folder
from crossan.train.record.run_folder import RunFolder
from crossan.train.settings import RunSettings

__all__ = ["RECIPE_FILE", "Scale", "conclude", "conclude_refit", "following", "other_settings"]

RECIPE_FILE = "recipe.json"
"""Says which recipe a run followed, and what came of it."""

Scale = Literal["paper", "sample"]

_PROTOCOL = (
    "data.max_items",
    "data.min_items",
    "data.split",
    "features.permute_seed",
    "init",
    "mask_history",
    "select_by",
)
"""Settings that no row changes but for those that say so: with others it is another protocol."""


@contextmanager
def following(
    recipe: Recipe | None, folder: Path, ranks: Ranks, scale: Scale = "paper"
) -> Iterator[None]:
    """Record in a run's folder which recipe it follows, for the block that trains it.

    Parameters
    ----------
    recipe
        What is run; nothing is recorded for None.
    folder
        The run folder, claimed by these ranks.
    ranks
        The processes that train it.
    scale
        Whether on the sample.
    """
    if recipe is not None and ranks.is_first:
        _write(folder, {**_facts(recipe), "scale": scale, "verdict": None})
    yield


def conclude(folder: Path, result: Mapping[str, Any]) -> dict[str, Any] | None:
    """Hold a finished run against the figures of its recipe, and record that.

    Parameters
    ----------
    folder
        The run folder.
    result
        ``result.json`` of the run.

    Returns
    -------
    dict or None
        ``recipe.json``, None for a run without a recipe. Its ``verdict`` says ``outcome``
        (``reproduced``, ``not reproduced``, or ``none`` with the reason in ``why``),
        ``differences`` by figure, and ``backbones`` that are not the paper's.

    Raises
    ------
    StoreIntegrityError
        A file of the run is damaged.
    """
    recorded: dict[str, Any] | None = shapes.read_record(folder / RECIPE_FILE, shapes.Recipe)
    recipe = None if recorded is None else all_recipes().get(recorded["name"])
    if recorded is None or recipe is None:
        return None
    verdict = _verdict(recipe, recorded["scale"], RunFolder(folder), result)
    recorded = {**_facts(recipe), "scale": recorded["scale"], "verdict": verdict}
    _write(folder, recorded)
    return recorded


def conclude_refit(
    recipe: Recipe, run: RunFolder, result: Mapping[str, Any], scale: Scale
) -> dict[str, Any]:
    """Hold a refit against the figures of its recipe, and record both in the refit's folder.

    Parameters
    ----------
    recipe
        A recipe that refits another.
    run
        The run that judges the refit, whose settings are the row's.
    result
        What `crossan.train.runs.training.evaluate_run` says of the refit's test targets.
    scale
        Whether on the sample.

    Returns
    -------
    dict
        As for `conclude`, with the result in ``evaluated``.
    """
    verdict = _verdict(recipe, scale, run, result)
    recorded = {**_facts(recipe), "scale": scale, "verdict": verdict, "evaluated": dict(result)}
    _write(refit_folder(run.path), recorded)
    return recorded


def _verdict(
    recipe: Recipe, scale: Scale, run: RunFolder, result: Mapping[str, Any]
) -> dict[str, Any]:
    settings = run.settings()
    why = _why_none(recipe, scale, settings, result)
    if why is not None:
        verdict: dict[str, Any] = {"outcome": "none", "why": why}
    else:
        by_metric = differences(recipe, result)
        is_reproduced = all(difference.is_within for difference in by_metric.values())
        verdict = {
            "outcome": "reproduced" if is_reproduced else "not reproduced",
            "differences": {
                name: {
                    "expected": difference.expected,
                    "found": difference.found,
                    "difference": difference.found - difference.expected,
                    "tolerance": difference.tolerance,
                }
                for name, difference in by_metric.items()
            },
            "backbones": _other_backbones(recipe, run) if recipe.modality else {},
        }
    return verdict


def _facts(recipe: Recipe) -> dict[str, Any]:
    return {
        "name": recipe.name,
        "source": recipe.source,
        "protocol": recipe.protocol,
        "is_ours": recipe.is_ours,
        "figures": dict(recipe.figures),
    }


def _write(folder: Path, record: Mapping[str, Any]) -> None:
    replace_durably(folder / RECIPE_FILE, (json.dumps(record, indent=2) + "\n").encode())


def _why_none(
    recipe: Recipe, scale: Scale, settings: RunSettings, result: Mapping[str, Any]
) -> str | None:
    """Return why a run cannot be held against its row, None where it can."""
    if scale == "sample":
        return "the sample shows that a recipe runs, not what it is worth"
    if not recipe.figures:
        return "no figure is printed for this row"
    changed = other_settings(recipe, settings)
    if changed:
        return f"it is another run than the row: {'; '.join(changed)}"
    return _other_dataset(recipe, settings, result)


def other_settings(recipe: Recipe, settings: RunSettings) -> list[str]:
    """Return in words which settings make a run another one than its row, none where none do."""
    expected = _values(default_settings(recipe))
    actual = _values(settings)
    return [
        f"{name} is {actual.get(name)}, not {expected.get(name)}"
        for name in sorted({*recipe.defining, *_PROTOCOL})
        if actual.get(name) != expected.get(name)
    ]


def _values(settings: RunSettings) -> dict[str, Any]:
    return dict(dotted(settings.model_dump(mode="json", serialize_as_any=True)))


def _other_dataset(recipe: Recipe, settings: RunSettings, result: Mapping[str, Any]) -> str | None:
    """Return how the data differs from that of the row, None where its counts are the same."""
    dataset = recipe.dataset
    try:
        counts = open_dataset(settings.data.dataset).counts
    except CrossanError:
        return f"its dataset is no longer at {settings.data.dataset}"
    if not dataset.is_told_by(counts):
        counted = ", ".join(f"{count:,} {what}" for what, count in counts.items())
        users, items, interactions = dataset.published
        return (
            f"another dataset than {dataset.title}: expected {users:,} users, {items:,} items and"
            f" {interactions:,} interactions, found {counted}"
        )
    if result["users"] != dataset.users:
        return f"expected {dataset.users:,} users in the ranking, found {result['users']:,}"
    is_cut = recipe.protocol == LEAVE_LAST_OUT and dataset.kept is not None
    if is_cut and dataset.kept is not None and result["items"] != dataset.kept[1]:
        return f"expected {dataset.kept[1]:,} items in the ranking, found {result['items']:,}"
    return None


def _other_backbones(recipe: Recipe, run: RunFolder) -> dict[str, str]:
    """Return the backbones of a run, or of its features, that are not its row's, by modality."""
    other = {
        modality: backbone
        for modality, backbone in recorded_backbones(run.path).items()
        if backbone != BACKBONES[modality][0]
    }
    for modality, entry in run.lock()["stores"].items():
        try:
            identity = read_identity(Path(entry["store"]))
        except CrossanError as error:
            note(f"the backbone of the {modality} features is not known: {error.message}")
            continue
        if any(is_made_as(source, identity) for source in recipe.stores):
            continue
        backbone = str(identity.backbone.get("id"))
        # Of several stores of one modality none is the paper's.
        paper_s = BACKBONES[modality][0] if modality in BACKBONES else None
        if recipe.stores or backbone != paper_s:
            other[modality] = backbone
    return other
