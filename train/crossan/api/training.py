"""Training from Python."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from crossan.api.datasets import Dataset
from crossan.api.errors import UsageError
from crossan.api.identifiers import sequence_of
from crossan.api.opening import open_run
from crossan.api.own_code import name_of, note_if_lost, used_by
from crossan.api.runs import Run

if TYPE_CHECKING:
    from crossan.common.config import Base
    from crossan.train.recipes import Recipe
    from crossan.train.runs.launch import Launch
    from crossan.train.settings import RunSettings

__all__ = ["train"]

_OF_RUNS = ("hybrid", "hybrid-of-runs")
"""What a hybrid of runs is called, by users and in its settings."""


def train(
    *,
    dataset: Dataset | Path | str | None = None,
    out: Path | str,
    cache: Path | str | None = None,
    model: str | None = None,
    of: Sequence[Run | Path | str] | None = None,
    recipe: str | None = None,
    settings: Mapping[str, object] | Path | str | None = None,
    fusion: object = None,
    objective: object = None,
    device: str = "auto",
    resume: bool = False,
    allow_stale: bool = False,
    **more: object,
) -> Run:
    """Train a model, rank the whole catalogue, and return the run.

    It does what `crossan-train` does, to the same bytes. Variables of the
    environment are not read.

    Parameters
    ----------
    dataset
        The dataset, or its folder. Needed unless the settings name one, or ``of`` is given.
    out
        Folder of the run, which must be empty or not there.
    cache
        Folder of the stores, for models that read any.
    model
        Kind of the model; ``crossan`` if nothing says otherwise.
    of
        Finished runs, or their folders, of which a hybrid is made: a Markov chain and the runs'
        content are added to the mean of their scores, ``model="hybrid"``. Dataset, stores and
        protocol are theirs; ``dataset`` and ``cache`` say where those lie now, if they were moved.
    recipe
        Name of a row of the paper, ``table3/50k-TIVA``, whose settings stand below all others:
        `crossan recipe ls` has them.
    settings
        A TOML file, or a mapping with dotted names (``{"model.width": 32}``) or groups
        (``{"model": {"width": 32}}``): ``docs/settings.md`` lists all there are.
    fusion
        How the towers' outputs become an item vector: a name, or a class of your own. It is called
        with the number of modalities and the width, and gives an `nn.Module` from the outputs
        ``(items, modality, width)`` and the presence ``(items, modality)`` bool to item vectors
        ``(items, width)``.
    objective
        What is minimised: a name, or a function of your own from `BatchScores` to a loss.
    device
        Where to compute: ``auto``, ``cpu``, ``cuda``, ``cuda:1``.
    resume
        Whether a run that lies in ``out`` is continued.
    allow_stale
        Whether items may have other contents than those that the stores were made from.
    more
        Settings by name, two underscores for a dot: ``max_epochs=3, optimiser__lr=1e-3``.

    Raises
    ------
    ConfigError
        A setting is unknown or has a value that it cannot take.
    UsageError
        The folder is not empty, there is no dataset or no such recipe, an objective is given for a
        model that takes no steps, or no hybrid can be made of the runs.
    DataError
        The stores do not serve every item.

    Examples
    --------
    >>> run = crossan.api.train(
    ...     dataset="data",
    ...     cache="cache",
    ...     out="runs/short",
    ...     model="frozen",
    ...     settings={"model.width": 16},
    ...     max_epochs=1,
    ...     optimiser__lr=0.01,
    ... )
    >>> run.metrics.num_rows
    1

    A hybrid of it, as ``crossan-train --model hybrid --of runs/short`` makes it:

    >>> hybrid = crossan.api.train(model="hybrid", of=["runs/short"], out="runs/hybrid")
    >>> sorted(hybrid.result["mixture"])[:3]
    ['co_occurrence', 'cold', 'cold_bonus']

    A fusion of one's own, the mean over the modalities that an item has:

    >>> class Mean(torch.nn.Module):
    ...     def __init__(self, modality_count, width):
    ...         super().__init__()
    ...
    ...     def forward(self, outputs, presence):
    ...         # The outputs of a modality that an item lacks are zeros.
    ...         return outputs.sum(dim=1) / presence.sum(dim=1, keepdim=True)
    >>> run = crossan.api.train(
    ...     dataset="data",
    ...     cache="cache",
    ...     out="runs/mean",
    ...     model="frozen",
    ...     fusion=Mean,
    ...     settings={"model.width": 16},
    ...     max_epochs=1,
    ... )
    >>> crossan.api.open_run("runs/mean", fusion=Mean).recommend(["i01"], top=2).num_rows
    2

    An objective of one's own, BPR over the items of other users:

    >>> def bpr(batch):
    ...     positive = batch.scores.gather(1, batch.positive[:, None])
    ...     terms = torch.nn.functional.softplus(batch.scores - positive)
    ...     return (terms * batch.is_negative).sum() / batch.is_negative.sum().clamp(min=1)
    >>> run = crossan.api.train(
    ...     dataset="data",
    ...     cache="cache",
    ...     out="runs/bpr",
    ...     model="frozen",
    ...     objective=bpr,
    ...     settings={"model.width": 16},
    ...     max_epochs=1,
    ... )
    """
    from crossan.common.code_names import using_code
    from crossan.common.config import FlagValue, load_settings
    from crossan.train.recipes import find_recipe
    from crossan.train.recipes.catalogue import require_one_training
    from crossan.train.recipes.writing import base_of
    from crossan.train.runs.launch import Launch
    from crossan.train.settings import RunSettings

    base_runs = None if of is None else _settings_of_runs(of, model, cache)
    given = {
        "data.dataset": _folder_of(dataset),
        "data.cache": None if cache is None else str(cache),
        "model.kind": model if base_runs is None else base_runs.values["model.kind"],
        "model.fusion": None if fusion is None else name_of(fusion),
        "objective.kind": None if objective is None else name_of(objective),
    }
    named = {name.replace("__", "."): value for name, value in more.items()}
    values = {**_values(settings), **named, **_given(given)}
    files = [Path(settings)] if isinstance(settings, Path | str) else []
    if not files and base_runs is None and "data.dataset" not in values:
        raise UsageError("expected a dataset, or runs of one in of, got neither")
    flags = [FlagValue(f"{name} =", name, value) for name, value in values.items()]
    row = None if recipe is None else find_recipe(recipe)
    if row is not None:
        require_one_training(row)
    bases = [*([] if base_runs is None else [base_runs]), *([] if row is None else [base_of(row)])]
    chosen = load_settings(RunSettings, files=files, flags=flags, environment={}, bases=bases)
    if objective is not None and not chosen.model.is_trained_by_steps:
        raise UsageError(
            f"objective: expected none with model.kind={chosen.model.kind}, which takes no steps, got"
            f" {objective!r:.200}"
        )
    parts = used_by(chosen, fusion, objective)
    for argument, part in (("fusion", fusion), ("objective", objective)):
        note_if_lost(part, argument)
    with using_code(parts):
        launch = Launch(device=device, may_resume=resume, may_be_stale=allow_stale)
        _train(row, chosen, Path(out), launch)
    return open_run(out, device=device, fusion=fusion, objective=objective, allow_stale=allow_stale)


def _train(recipe: Recipe | None, settings: RunSettings, out: Path, launch: Launch) -> None:
    from crossan.train.recipes.running import run_recipe
    from crossan.train.runs import training
    from crossan.train.runs.planning import claim, plan_run

    if recipe is not None:
        run_recipe(recipe, settings, out, launch, "paper")
        return
    plan = plan_run(settings, out, launch)
    with claim(plan):
        training.train(plan)


def _settings_of_runs(
    of: Sequence[Run | Path | str], model: str | None, cache: Path | str | None
) -> Base:
    """Return the settings that a hybrid takes over from its runs."""
    from crossan.train.runs.of_runs import settings_of_runs

    paths = [
        one.path if isinstance(one, Run) else Path(one)
        for one in sequence_of(of, "runs or run folders")
    ]
    if model is not None and model not in _OF_RUNS:
        raise UsageError(f"of: expected model='hybrid' with it, got {model!r:.200}")
    if not paths:
        raise UsageError("of: expected at least one finished run, got none")
    return settings_of_runs(paths, None if cache is None else Path(cache))


def _folder_of(dataset: Dataset | Path | str | None) -> str | None:
    if dataset is None:
        return None
    return str(dataset.path if isinstance(dataset, Dataset) else dataset)


def _given(values: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in values.items() if value is not None}


def _values(settings: object) -> dict[str, object]:
    """Return settings by dotted name."""
    if settings is None or isinstance(settings, Path | str):
        return {}
    if not isinstance(settings, Mapping):
        raise UsageError(
            f"settings: expected a TOML file or a mapping of names to values, got {settings!r:.200}"
        )
    return dict(_flat(settings))


def _flat(tree: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
