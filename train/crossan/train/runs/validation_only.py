"""A run trained and judged by validation alone, with no test target in reach."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from crossan.common.datasets.protocol import sequences_digest
from crossan.train.record.spec import exact_kernels
from crossan.train.runs.facts import training_facts
from crossan.train.runs.launch import Launch
from crossan.train.runs.opening import best_weights
from crossan.train.runs.planning import claim, plan_run
from crossan.train.runs.training import train
from crossan.train.settings import RunSettings

__all__ = ["train_without_test"]


def train_without_test(settings: RunSettings, out: Path, launch: Launch) -> dict[str, Any]:
    """Train a run as `train_run` does, to the same weights, without its test part.

    The figures are in ``validation.json``. `train_run` with ``may_resume``
    finishes the run: it finds nothing left to train and ranks the test targets.

    Parameters
    ----------
    settings, out, launch
        As for `train_run`.

    Raises
    ------
    CrossanError
        Whatever stops a run.
    """
    with exact_kernels():
        # Nothing but the plan without the test part is kept, so nothing below can reach it.
        plan = plan_run(settings, out, launch).without_test()
        with claim(plan):
            reached = train(plan)
            if not launch.ranks.is_first:
                return {}  # what is left is done once
            run = plan.run
            best_weights(run.folder, reached.best_epoch)
            figures = {
                "run": str(out),
                "model": run.settings.model.kind,
                "valid": reached.metrics[reached.best_epoch - 1]["valid"],
                "users": len(run.seen.user_ids),
                "items": len(run.seen.item_ids),
                "sequences": sequences_digest(run.seen),
                "mask_history": run.settings.mask_history,
                **training_facts(run.model, run.folder, reached),
            }
            run.folder.write_validation(figures)
    return figures
