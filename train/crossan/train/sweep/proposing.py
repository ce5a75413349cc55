"""The points to try next, in batches, by sampler.

They depend on settings and results, never on timing.
"""

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
"""Gives the mean validation HR@10 of a finished point, or None where a trial of it failed."""


def batches(sweep: SweepSettings, score: Score) -> Iterator[list[Point]]:
    """Yield batches of points to try.

    The caller must finish each batch before it takes the next.

    Parameters
    ----------
    sweep
        The axes and the sampler.
    score
        Says how a point of an earlier batch did.

    Raises
    ------
    UsageError
        optuna is requested and not installed.
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
    """Ask optuna's TPE for ``at_once`` points, tell it how they did, and repeat.

    The study is in memory only. A resumed sweep asks and tells again from the
    first point on, with the results in its folder. As the sampler is seeded, and
    is told in the order of asking, it proposes the same points.
    """
    optuna = import_optuna()
    # The constant liar counts unfinished points as bad, so those of one batch differ.
    sampler = optuna.samplers.TPESampler(seed=sweep.sampler_seed, constant_liar=True)
    study = optuna.create_study(sampler=sampler, direction="maximize")
    space, count, batch_size = _space(sweep), sweep.trials or 0, sweep.at_once or 1
    for start in range(0, count, batch_size):
        proposals = [study.ask(space) for _ in range(min(batch_size, count - start))]
        points = [_point(sweep, proposal.params) for proposal in proposals]
        yield points
        for proposal, point in zip(proposals, points, strict=True):
            value = score(point)
            if value is None:
                study.tell(proposal, state=optuna.trial.TrialState.FAIL)
            else:
                study.tell(proposal, value)


def _space(sweep: SweepSettings) -> dict[str, optuna.distributions.BaseDistribution]:
    """Return the axes as optuna's distributions."""
    optuna = import_optuna()
    # Of a grid, the positions of the values: optuna takes no list as a value.
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
    """Return the point of optuna's choice on every axis."""
    from_grid = {name: values[chosen[name]] for name, values in sweep.grid.items()}
    return {**from_grid, **{name: chosen[name] for name in sweep.range}}


def import_optuna() -> Any:  # noqa: ANN401 - a module that mypy does not see
    """Import optuna without its log of every trial.

    Raises
    ------
    UsageError
        optuna is not installed.
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
