"""The runs that a recipe is made of, found or made, and the refit of one."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossan.cache_schema.errors import UsageError
from crossan.common.console import note
from crossan.train.recipes.catalogue import find_recipe
from crossan.train.recipes.extraction import run_step
from crossan.train.recipes.recipe import Recipe

if TYPE_CHECKING:
    from crossan.train.recipes.judging import Scale
    from crossan.train.recipes.running import Request

__all__ = [
    "Workplace",
    "members_of",
    "require_nothing_else",
    "require_one_process",
    "run_folder",
    "run_members",
    "run_refit",
    "with_members",
]


@dataclass(frozen=True, slots=True)
class Workplace:
    """Where the runs of a recipe lie, and how those that are missing are made."""

    runs: Path
    """Folder of runs, each in one that `run_folder` names."""

    seed: int
    """The seed of the row. A recipe that is named twice has its second run by the next one."""

    options: tuple[str, ...]
    """Words for each ``crossan recipe run``: dataset, cache and scale."""

    device: str
    """Where a refit is trained and judged."""

    scale: Scale

    may_be_stale: bool = False
    """Whether items may have other contents than those that the stores were made from."""

    def everywhere(self) -> list[str]:
        """Return the options of every command."""
        return ["--device", self.device, *(["--allow-stale"] if self.may_be_stale else [])]


def run_folder(runs: Path, recipe: Recipe, seed: int) -> Path:
    """Return the folder of a recipe's run among others, ``best-seed0`` for ``quality/best``.

    Of a refit it is that of the run that is refitted, which the refit lies in. Where another
    recipe of the same table is the same run, and it alone is finished, its folder is returned.

    Parameters
    ----------
    runs
        The folder of runs.
    recipe, seed
        Whose run it is, and its seed.
    """
    judged = recipe if recipe.refits is None else find_recipe(recipe.refits)
    table, _, name = judged.name.partition("/")
    folder = runs / f"{name}-seed{seed}"
    other_table, _, other_name = (judged.same_run or "").partition("/")
    other = runs / f"{other_name}-seed{seed}"
    is_other = other_table == table and _is_finished(other) and not _is_finished(folder)
    return other if is_other else folder


def members_of(recipe: Recipe, place: Workplace) -> list[tuple[Recipe, int, Path]]:
    """Return the runs that a recipe is made of: what each follows, its seed and its folder."""
    seen: Counter[str] = Counter()
    members = []
    for name in recipe.of:
        member, seed = find_recipe(name), place.seed + seen[name]
        seen[name] += 1
        members.append((member, seed, run_folder(place.runs, member, seed)))
    return members


def require_one_process(recipe: Recipe) -> None:
    """Refuse ranks of torchrun, each of which would run every command of a recipe.

    Raises
    ------
    UsageError
        There are several.
    """
    if int(os.environ.get("WORLD_SIZE") or 1) > 1:
        names = ", ".join(dict.fromkeys(recipe.of)) or recipe.refits
        raise UsageError(
            f"{recipe.name}: expected one process, found WORLD_SIZE={os.environ['WORLD_SIZE']}",
            remedy=f"Train {names} by torchrun first, and run this recipe by one process",
        )


def with_members(recipe: Recipe, request: Request, place: Workplace) -> Request:
    """Return what a user gives with the runs that a recipe is made of below it.

    Raises
    ------
    UsageError
        As `run_members`, or no hybrid can be made of the runs.
    """
    if not recipe.of:
        return request
    from crossan.train.runs.of_runs import settings_of_runs

    cache = request.flags["--cache"]
    base = settings_of_runs(run_members(recipe, place), None if cache is None else Path(cache))
    flags = {**request.flags}
    flags["--dataset"] = flags["--dataset"] or base.values["data.dataset"]
    return replace(request, flags=flags, bases=[*request.bases, base])


def require_nothing_else(recipe: Recipe, request: Request) -> None:
    """Refuse settings beside a recipe that refits a run, whose settings are those of the run.

    Raises
    ------
    UsageError
        There are some.
    """
    if request.config or request.assignments:
        raise UsageError(
            f"{recipe.name}: expected neither --set nor --config beside a refit, which has the"
            f" settings of its run",
            remedy=f"Give them to the run: crossan recipe run {recipe.refits} --out FOLDER",
        )


def run_members(recipe: Recipe, place: Workplace) -> list[Path]:
    """Return the folders of the runs that a recipe is made of, each made unless it is finished.

    Raises
    ------
    UsageError
        A folder has another run than the one that is needed.
    StepError
        The command of a run ended badly.
    """
    return [_finished(*member, place) for member in members_of(recipe, place)]


def run_refit(recipe: Recipe, out: Path, place: Workplace) -> tuple[dict[str, Any], dict[str, Any]]:
    """Refit the run in a folder on its validation items, and judge the refit by the test items.

    The run is made where it is not there yet, as are the refits of the runs that it is made of,
    which come first. What is finished is not done again.

    Parameters
    ----------
    recipe
        A recipe that refits another.
    out
        The folder of the run that is refitted. The refit lies in it.
    place
        Where the runs lie.

    Returns
    -------
    tuple
        The figures of the refit, without those of validation, and its ``recipe.json``.

    Raises
    ------
    UsageError
        As `run_members`.
    StepError
        A command ended badly.
    """
    from crossan.train.recipes.judging import conclude_refit
    from crossan.train.record.refits import refit_folder
    from crossan.train.record.run_folder import RunFolder
    from crossan.train.runs.opening import open_run
    from crossan.train.runs.training import evaluate_run

    assert recipe.refits is not None  # by the caller
    refitted = find_recipe(recipe.refits)
    folders = run_members(refitted, place)
    folders.append(_finished(refitted, place.seed, out, place))
    for folder in folders:
        command = ["crossan-train", "--out", str(folder), "--resume", "--refit", "validation"]
        run_step([*command, *place.everywhere()])
    opened = open_run(refit_folder(out), device=place.device, may_be_stale=place.may_be_stale)
    result = evaluate_run(opened, opened.settings.mask_history)
    return result, conclude_refit(recipe, RunFolder(out), result, place.scale)


def _finished(recipe: Recipe, seed: int, folder: Path, place: Workplace) -> Path:
    """Return the folder of a run after it was made, unless it is finished."""
    command = ["crossan", "recipe", "run", recipe.name, "--out", str(folder), "--seed", str(seed)]
    command += ["--runs", str(place.runs)] if recipe.of else []
    command += ["--resume", *place.options, *place.everywhere()]
    if _is_finished(folder):
        _require_run_of(recipe, seed, folder, place.scale)
        note(f"{folder}: finished, and the run of {recipe.name} that is needed")
        return folder
    run_step(command)
    return folder


def _is_finished(run: Path) -> bool:
    return (run / "result.json").is_file()


def _require_run_of(recipe: Recipe, seed: int, folder: Path, scale: Scale) -> None:
    """Refuse a run that lies where one of a recipe is looked for, and is another."""
    from crossan.train.recipes.judging import other_settings
    from crossan.train.record.reading import read_settings

    settings = read_settings(folder)
    # On the sample every recipe has smaller settings than its own.
    changed = other_settings(recipe, settings) if scale == "paper" else []
    if settings.seed != seed and settings.model.is_trained_by_steps:
        changed.append(f"seed is {settings.seed}, not {seed}")
    if changed:
        raise UsageError(
            f"{folder}: expected a run of {recipe.name}, found another: {'; '.join(changed)}",
            remedy="Name another folder of runs: --runs FOLDER",
        )
