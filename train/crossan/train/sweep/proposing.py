"""Batches of points to try next, by sampler. What comes next depends on settings and results, never on timing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from crossan.cache_schema.errors import UsageError
from crossan.train.sweep.points import Point, drawn_points, grid_points
from crossan.train.sweep.settings import SweepSettings, parse_range

if TYPE_CHECKING:
    import optuna

__all__ = ["Score", "batches", "import_optuna", "planned_count"]

Score = Callable[[Point], float | None]
"""A finished point's mean validation HR@10; None where a trial of it failed."""


def batches(sweep: SweepSettings, score: Score) -> Iterator[list[Point]]:
    """Yield points to try; all that was yielded must be finished before the next is asked for.

    Parameters
    ----------
    sweep
        The axes and the sampler.
    score
        Tells how a point did that was yielded before.

    Raises
    ------
    UsageError
        optuna is asked for and not installed.
    """
    if sweep.sampler == "grid":
        yield grid_points(sweep)
    elif sweep.sampler == "random":
        yield drawn_points(sweep)
    else:
        yield from _proposed(sweep, score)


def planned_count(sweep: SweepSettings) -> int:
    """Return how many points there will be."""
    return len(grid_points(sweep)) if sweep.trials is None else sweep.trials


def _proposed(sweep: SweepSettings, score: Score) -> Iterator[list[Point]]:
    """Ask optuna's TPE for ``at_once`` points, tell it how they did, ask for the next.

    The study lives in memory. A sweep that goes on asks and tells anew from the
    first point, by the results in its folder; as the sampler is seeded, and told
    in the order of asking, it comes by the same points. Points of one batch keep
    clear of each other by the constant liar: unfinished ones count as bad.
    """
    optuna = import_optuna()
    sampler = optuna.samplers.TPESampler(seed=sweep.sampler_seed, constant_liar=True)
    study = optuna.create_study(sampler=sampler, direction="maximize")
    space, count = _space(sweep), sweep.trials or 0
    for begun in range(0, count, sweep.at_once or 1):
        asked = [study.ask(space) for _ in range(min(sweep.at_once or 1, count - begun))]
        points = [_point(sweep, trial.params) for trial in asked]
        yield points
        for trial, point in zip(asked, points, strict=True):
            value = score(point)
            if value is None:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
            else:
                study.tell(trial, value)


def _space(sweep: SweepSettings) -> dict[str, optuna.distributions.BaseDistribution]:
    """Return the axes as optuna's; of a grid's values their places, as values may be lists."""
    optuna = import_optuna()
    space: dict[str, Any] = {
        name: optuna.distributions.CategoricalDistribution(range(len(values)))
        for name, values in sweep.grid.items()
    }
    for name, text in sweep.range.items():
        bounds = parse_range(name, text)
        if bounds.is_whole:
            low, high = int(bounds.low), int(bounds.high)
            space[name] = optuna.distributions.IntDistribution(low, high, log=bounds.is_log)
        else:
            space[name] = optuna.distributions.FloatDistribution(
                bounds.low, bounds.high, log=bounds.is_log
            )
    return space


def _point(sweep: SweepSettings, chosen: dict[str, Any]) -> Point:
    places = {name: values[chosen[name]] for name, values in sweep.grid.items()}
    return {**places, **{name: chosen[name] for name in sweep.range}}


def import_optuna() -> Any:  # noqa: ANN401 - a module that mypy does not see
    """Return the library, told to be quiet.

    Raises
    ------
    UsageError
        It is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise UsageError(
            "--sampler optuna: expected the library optuna, found none",
            remedy="pip install 'crossan[optuna]'",
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
