"""``crossan recipe run``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from crossan.common.console import AsJson, Device, Panel, explains_options, note, print_json
from crossan.common.stores.options import CacheFolder
from crossan.train.options import AllowStale, Config, DatasetFolder, DropItems, explain_setting
from crossan.train.options.training import Assignments, OutFolder, Resume, Seed

if TYPE_CHECKING:
    from collections.abc import Mapping

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
    runs: Annotated[
        Path | None,
        typer.Option(
            "--runs",
            metavar="FOLDER",
            help="Where the runs lie that a recipe is made of, as best-seed0, or are made;"
            " default: the folder that --out is in.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = None,
    resume: Resume = False,
    config: Config = None,
    assignments: Assignments = None,
    seed: Seed = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Train a recipe and say whether its figure is reproduced.

    It is crossan-train --recipe NAME, which has every option of training. A recipe that is made of
    other runs makes those that are missing. One that refits a run takes its folder as --out, and
    judges the refit by the test items.

    Examples
    --------
    crossan recipe run table3/50k-TIVA --dataset data --cache cache --out runs/tiva
    crossan recipe run table3/50k-TIVA --scale sample --out runs/tried
    crossan recipe run quality/best-hybrid --dataset data --cache cache --out runs/best-hybrid-seed0
    crossan recipe run quality/best-refit --dataset data --cache cache --out runs/best-seed0
    """
    from crossan.train.ranks.joining import joined
    from crossan.train.recipes.catalogue import find_recipe
    from crossan.train.recipes.made_of import (
        Workplace,
        require_nothing_else,
        require_one_process,
        run_refit,
        with_members,
    )
    from crossan.train.recipes.writing import require_built

    recipe = find_recipe(name)
    require_built(recipe)
    if recipe.of or recipe.refits is not None:
        require_one_process(recipe)
    flags = {
        "--dataset": dataset,
        "--cache": None if cache is None else str(cache),
        "--drop-items": drop_items or None,
        "--seed": seed,
    }
    if scale == "sample":
        # Not CROSSAN_DATASET and CROSSAN_CACHE, which are for real runs.
        flags |= _sample_flags(recipe, sample)
    place = Workplace(
        runs=out.absolute().parent if runs is None else runs,
        seed=seed or 0,
        options=_options(flags, scale, sample),
        device=device,
        may_be_stale=allow_stale,
        scale=scale,
    )
    with joined(device) as process:
        from crossan.train.evaluation.printing import print_result
        from crossan.train.recipes.printing import print_verdict
        from crossan.train.recipes.running import Request, run_recipe, settings_of
        from crossan.train.runs.launch import Launch

        request = Request(flags, config or [], assignments or [])
        record: dict[str, Any] | None
        if recipe.refits is not None:
            require_nothing_else(recipe, request)
            result, record = run_refit(recipe, out, place)
        else:
            settings = settings_of(recipe, with_members(recipe, request, place), scale)
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
    from crossan.train.recipes.sample import prepare_other_titles, prepare_sample

    made = prepare_sample(folder)
    if len(recipe.stores) > 1:
        prepare_other_titles(made)
    return {"--dataset": str(made.dataset), "--cache": str(made.cache) if recipe.modality else None}


def _options(flags: Mapping[str, Any], scale: str, sample: Path) -> tuple[str, ...]:
    """Return the options of this command that the runs of a recipe are made with, too."""
    if scale == "sample":
        return ("--scale", "sample", "--sample", str(sample))
    words = [
        word for name in ("--dataset", "--cache") if flags[name] for word in (name, flags[name])
    ]
    return (*words, *(["--drop-items"] if flags["--drop-items"] else []))
