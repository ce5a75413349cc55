"""``crossan-train --refit``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossan.cache_schema.errors import UsageError
from crossan.common.split import RefitScope

if TYPE_CHECKING:
    from crossan.train.recipes import Recipe
    from crossan.train.runs.launch import Launch
    from crossan.train.settings import RunSettings

__all__ = ["require_refit_alone", "train_and_refit"]


def require_refit_alone(
    out: Path, refit: RefitScope | None, refit_init: Path | None, *, is_alone: bool
) -> None:
    """Refuse a refit beside what makes another kind of training.

    Raises
    ------
    UsageError
        There is ``--validation-only`` or a cluster, or ``--refit-init`` without ``--refit``.
    """
    if refit is None and refit_init is not None:
        raise UsageError("--refit-init: expected --refit with it, found none")
    if refit is not None and not is_alone:
        raise UsageError(
            "--refit: expected no --validation-only and no --engine ray beside it, as a refit"
            " follows a run that has been judged, by one process or by torchrun",
            remedy="Refit the run when it is judged:"
            f" crossan-train --out {out} --resume --refit {refit}",
        )


def train_and_refit(
    settings: RunSettings,
    out: Path,
    launch: Launch,
    recipe: Recipe | None,
    refit: tuple[RefitScope, Path | None],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the results of a run and of its refit, each of which is made unless it is there.

    Parameters
    ----------
    settings, out, launch
        As for `crossan.train.runs.planning.plan_run`.
    recipe
        What the run follows, None for no recipe.
    refit
        What ``--refit`` and ``--refit-init`` say.
    """
    from crossan.train.recipes.judging import following
    from crossan.train.runs import training
    from crossan.train.runs.planning import plan_run
    from crossan.train.runs.refitting import (
        RefitRequest,
        claim_or_hold,
        finished_refit,
        refit_run,
    )

    request = RefitRequest(*refit)
    finished = finished_refit(settings, out, launch, request)
    if finished is not None:
        return finished
    plan = plan_run(settings, out, launch)
    with claim_or_hold(plan) as judged:
        result = judged
        if result is None:
            with following(recipe, out, launch.ranks):
                result = training.train(plan)
        return result, refit_run(plan, request, result)
