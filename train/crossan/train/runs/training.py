"""A run from its settings to ``result.json``.

Three functions in a row make it::

    plan = plan_run(settings, out, launch)
    with claim(plan):
        result = train(plan)
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crossan.train.evaluation.result import (
    candidate_figures,
    figures_of,
    rank_everyone,
    write_ranks,
)
from crossan.train.loop.trainable import RefitRun, TrainableRun
from crossan.train.loop.trainer import fit
from crossan.train.record.checkpoint import load_weights
from crossan.train.record.dataset_lock import protocol_facts
from crossan.train.record.refits import is_refit, require_something_unseen
from crossan.train.record.run_folder import RANKS_FILE
from crossan.train.runs.best_weights import best_weights
from crossan.train.runs.contents import counts_of
from crossan.train.runs.curves import Curves
from crossan.train.runs.facts import earlier_facts, training_facts
from crossan.train.runs.launch import Launch
from crossan.train.runs.opening import OpenedRun
from crossan.train.runs.planning import RunPlan
from crossan.train.runs.shortage import (
    evaluation_shortage_explained,
    predicted,
    training_shortage_explained,
)
from crossan.train.sequences.splits import validation_split
from crossan.train.settings import HistoryMask

__all__ = ["curves_of", "evaluate_run", "train", "train_without_test"]


def train(plan: RunPlan[OpenedRun]) -> dict[str, Any]:
    """Train a run and return its result, which is also in ``result.json``.

    Of several ranks only the first has a result.

    Parameters
    ----------
    plan
        The run, whose folder is claimed.

    Raises
    ------
    CrossanError
        Training diverged, or a checkpoint is damaged.
    """
    run, ranks = plan.run, plan.launch.ranks
    earlier = earlier_facts(run.folder)
    trainable = run.without_test()
    with curves_of(run, plan.launch) as curves:
        peak = predicted(trainable, plan.launch)
        with training_shortage_explained(trainable, plan.launch, peak):
            recorder = plan.launch.recorder_of(trainable.device)
            reached = fit(trainable, ranks, on_epoch=curves.update, recorder=recorder)
        if not ranks.is_first:
            return {}  # what is left is done once
        load_weights(run.model, best_weights(run.folder, reached.best_epoch), str(run.folder.path))
        result = evaluate_run(run, run.settings.mask_history, run.folder.path / RANKS_FILE)
        result |= training_facts(run, reached, earlier, peak)
        run.folder.write_result(result)
        curves.finish(result)
    return result


def train_without_test(plan: RunPlan[TrainableRun]) -> dict[str, Any]:
    """Train a run to the same weights as `train` does, with no test target in reach.

    The figures are in ``validation.json``. `train` on a plan that may resume
    finishes the run: it finds nothing left to train and ranks the test targets.

    Parameters
    ----------
    plan
        The run without its test part, whose folder is claimed.

    Raises
    ------
    CrossanError
        Training diverged, or a checkpoint is damaged.
    """
    run, ranks = plan.run, plan.launch.ranks
    earlier = earlier_facts(run.folder)
    with curves_of(run, plan.launch) as curves:
        peak = predicted(run, plan.launch)
        with training_shortage_explained(run, plan.launch, peak):
            recorder = plan.launch.recorder_of(run.device)
            reached = fit(run, ranks, on_epoch=curves.update, recorder=recorder)
        if not ranks.is_first:
            return {}  # what is left is done once
        best_weights(run.folder, reached.best_epoch)
        figures = {
            "run": str(run.folder.path),
            "model": run.settings.model.kind,
            **_validation_of(reached.metrics[reached.best_epoch - 1]),
            "users": len(run.seen.user_ids),
            "items": len(run.seen.item_ids),
            **protocol_facts(run.seen),
            "contents": counts_of(plan.verdicts),
            "mask_history": run.settings.mask_history,
            **candidate_figures(
                [validation_split(run.seen, run.settings.data.input_length)],
                len(run.seen.item_ids),
                run.settings.mask_history,
            ),
            **training_facts(run, reached, earlier, peak),
        }
        run.folder.write_validation(figures)
        curves.finish(figures)
    return figures


def evaluate_run(
    run: OpenedRun, mask_history: HistoryMask, ranks_file: Path | None = None
) -> dict[str, Any]:
    """Rank validation and test targets over the whole catalogue, popularity beside them.

    Of a refit on the validation items the test targets alone are ranked.

    Parameters
    ----------
    run
        The run with the weights to judge.
    mask_history
        Which of a user's items before the target are left out.
    ranks_file
        Where the rank of every user's targets is written, None for nowhere.

    Raises
    ------
    UsageError
        It is a refit on all items, so that nothing is left to rank.
    """
    trained_on, length = run.settings.refit, run.settings.data.input_length
    require_something_unseen(run.folder.path, run.settings)
    with evaluation_shortage_explained(run, "the ranking of all users"):
        ranked = rank_everyone(run.model, run.features, run.kept, length, mask_history, trained_on)
    if ranks_file is not None:
        write_ranks(ranked, ranks_file)
    return {
        "run": str(run.folder.path),
        "model": run.settings.model.kind,
        **figures_of(ranked),
        **protocol_facts(run.kept),
        "contents": counts_of(run.verdicts),
        **({"refit": trained_on} if is_refit(run.settings) else {}),
    }


def _validation_of(line: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the line of an epoch says of its validation; older ones said nothing of cold."""
    return {name: line[name] for name in ("valid", "cold_valid") if name in line}


def curves_of(run: OpenedRun | TrainableRun | RefitRun, launch: Launch) -> Curves:
    """Return the logs of a run, none of them on any rank but the first."""
    return Curves(run.folder, run.settings, launch.logs if launch.ranks.is_first else ())
