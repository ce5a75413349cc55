"""A recipe from its name to a run with a verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossan.train.options import run_settings
from crossan.train.recipes.catalogue import require_one_training
from crossan.train.recipes.extraction import named_stores, text_store
from crossan.train.recipes.recipe import Recipe
from crossan.train.recipes.sample import Sample, sample_base
from crossan.train.recipes.writing import base_of

if TYPE_CHECKING:
    from crossan.common.config import Base
    from crossan.train.recipes.judging import Scale
    from crossan.train.runs.launch import Launch
    from crossan.train.settings import RunSettings

__all__ = ["Request", "run_recipe", "settings_of"]


@dataclass(frozen=True, slots=True)
class Request:
    """What a user gives beside a recipe, all of which wins over it."""

    flags: Mapping[str, Any]
    """Values of flags by their names, ``--dataset`` among them (`run_settings`)."""

    config: Sequence[Path] = ()
    assignments: Sequence[str] = ()
    bases: Sequence[Base] = ()
    """Settings below all of these, as those of the runs of ``--of`` are."""


def settings_of(recipe: Recipe | None, request: Request, scale: Scale = "paper") -> RunSettings:
    """Return the settings of a recipe with what a user gives over them.

    The stores that the recipe names are among them, and where a cache has several
    stores of titles, the one that fits.

    Parameters
    ----------
    recipe
        What is run, None for no recipe.
    request
        What the user gives.
    scale
        Whether on the sample, which needs smaller settings.

    Raises
    ------
    UsageError
        The recipe's model is not built or is more than one training, a setting is wrong, or no
        store fits.
    """
    if recipe is not None and not request.bases:
        require_one_training(recipe)
    bases = [*request.bases, *([] if recipe is None else [base_of(recipe)])]
    if recipe is not None and scale == "sample":
        # The dataset lies in the sample, with all else of it.
        bases.append(sample_base(recipe, Sample(Path(request.flags["--dataset"]).parent)))
    settings = run_settings(
        request.flags, list(request.config), list(request.assignments), bases=bases
    )
    if recipe is None or scale == "sample":
        return settings
    return _with_stores(recipe, settings)


def _with_stores(recipe: Recipe, settings: RunSettings) -> RunSettings:
    """Name the stores that a recipe asks for, where its cache has others beside them."""
    data = settings.data
    # Whoever names stores has chosen.
    if data.cache is None or data.store or not settings.model.reads_hidden_states:
        return settings
    from crossan.common.datasets import open_dataset

    cache, dataset = Path(data.cache), open_dataset(data.dataset).name
    stores = named_stores(recipe, cache, dataset)
    if not stores:
        titles = text_store(recipe, cache, dataset)
        stores = [] if titles is None else [titles]
    if not stores:
        return settings
    names = tuple(map(str, stores))
    return settings.model_copy(update={"data": data.model_copy(update={"store": names})})


def run_recipe(
    recipe: Recipe, settings: RunSettings, out: Path, launch: Launch, scale: Scale
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Train a recipe and hold its result against its row.

    Parameters
    ----------
    recipe, scale
        What is run, and whether on the sample.
    settings
        Those of `settings_of`.
    out
        The run folder.
    launch
        Where it is trained.

    Returns
    -------
    tuple
        ``result.json`` and ``recipe.json``; an empty one and None on ranks but the first.

    Raises
    ------
    CrossanError
        As `crossan.train.runs.planning.plan_run` and `crossan.train.runs.training.train`.
    """
    from crossan.train.recipes.judging import conclude, following
    from crossan.train.runs.planning import claim, plan_run
    from crossan.train.runs.training import train

    plan = plan_run(settings, out, launch)
    with claim(plan), following(recipe, out, launch.ranks, scale):
        result = train(plan)
    return result, conclude(out, result) if launch.ranks.is_first else None
