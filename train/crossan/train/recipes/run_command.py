"""``crossan recipe run``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from crossan.common.console import AsJson, Device, Panel, explains_options, note, print_json
from crossan.common.stores.options import CacheFolder
from crossan.train.options import AllowStale, Config, DatasetFolder, DropItems, explain_setting
from crossan.train.options.training import Assignments, OutFolder, Resume, Seed

if TYPE_CHECKING:
    from crossan.train.recipes.recipe import Recipe

__all__ = ["RecipeName", "complete_recipe", "run"]


def complete_recipe(incomplete: str) -> list[str]:
    """Return the names that a word may become."""
    from crossan.train.recipes.catalogue import all_recipes

    return [name for name in all_recipes() if name.startswith(incomplete)]


RecipeName = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="Name of a recipe: crossan recipe ls.", autocompletion=complete_recipe
    ),
]


@explains_options(explain_setting)
def run(
    name: RecipeName,
    out: OutFolder,
    dataset: DatasetFolder = None,
    cache: CacheFolder = None,
    drop_items: DropItems = False,
    allow_stale: AllowStale = False,
    scale: Annotated[
        Literal["paper", "sample"],
        typer.Option(
            "--scale",
            help="sample runs it on the built-in sample in seconds; default: paper.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = "paper",
    sample: Annotated[
        Path,
        typer.Option(
            "--sample",
            metavar="FOLDER",
            help="Where the sample and its stores are made once; a folder of crossan demo serves.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = Path("sample"),
    resume: Resume = False,
    config: Config = None,
    assignments: Assignments = None,
    seed: Seed = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Train a recipe and say whether its figure is reproduced.

    It is crossan-train --recipe NAME, which has every option of training.

    Examples
    --------
    crossan recipe run table3/50k-TIVA --dataset data --cache cache --out runs/tiva
    crossan recipe run table3/50k-TIVA --scale sample --out runs/tried
    """
    from crossan.train.ranks.joining import joined
    from crossan.train.recipes.catalogue import find_recipe
    from crossan.train.recipes.writing import require_built

    recipe = find_recipe(name)
    require_built(recipe)
    flags = {
        "--dataset": dataset,
        "--cache": None if cache is None else str(cache),
        "--drop-items": drop_items or None,
        "--seed": seed,
    }
    if scale == "sample":
        # Not CROSSAN_DATASET and CROSSAN_CACHE, which are for real runs.
        flags |= _sample_flags(recipe, sample)
    with joined(device) as process:
        from crossan.train.evaluation.printing import print_result
        from crossan.train.recipes.printing import print_verdict
        from crossan.train.recipes.running import Request, run_recipe, settings_of
        from crossan.train.runs.launch import Launch

        request = Request(flags, config or [], assignments or [])
        settings = settings_of(recipe, request, scale)
        launch = Launch(
            device=process.device,
            ranks=process.ranks,
            may_resume=resume,
            may_be_stale=allow_stale,
        )
        result, record = run_recipe(recipe, settings, out, launch, scale)
        if not process.ranks.is_first or record is None:
            return
    if as_json:
        print_json({"result": result, "recipe": record})
    else:
        print_result(result)
        print_verdict(record)
        note(f"run folder: {out}")


def _sample_flags(recipe: Recipe, folder: Path) -> dict[str, str | None]:
    """Return the flags that name the sample, which is made where it is not there yet."""
    from crossan.train.recipes.sample import prepare_sample

    made = prepare_sample(folder)
    return {"--dataset": str(made.dataset), "--cache": str(made.cache) if recipe.modality else None}
