"""A run trained and judged by validation alone: the test targets are not in what its functions are handed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from crossan.common.datasets.protocol import sequences_digest
from crossan.train.features import Placement
from crossan.train.ranks.ranks import ALONE, Ranks
from crossan.train.runs.facts import training_facts
from crossan.train.runs.opening import OpenedRun, best_weights
from crossan.train.runs.training import begun_run, train_model
from crossan.train.settings import RunSettings

__all__ = ["train_without_test"]


def train_without_test(
    settings: RunSettings,
    out: Path,
    *,
    may_resume: bool,
    device: str,
    may_differ: bool = False,
    placement: Placement = Placement(),  # noqa: B008 - frozen
    ranks: Ranks = ALONE,
) -> dict[str, Any]:
    """Train a run as `train_run` does, to the same weights, with no test target in reach.

    The figures are in ``validation.json``. `train_run` with ``may_resume``
    finishes the run: it finds nothing left to train and ranks the test targets.

    Parameters
    ----------
    settings, out, may_resume, device, may_differ, placement, ranks
        As for `train_run`.

    Raises
    ------
    CrossanError
        Whatever stops a run.
    """
    view = OpenedRun.without_test
    begun = begun_run(
        settings,
        out,
        view,
        may_resume=may_resume,
        device=device,
        may_differ=may_differ,
        placement=placement,
        ranks=ranks,
    )
    with begun as run:
        reached = train_model(run, ranks)
        if not ranks.is_first:
            return {}  # what is left is done once
        best_weights(run.folder, reached.best_epoch)
        figures = {
            "run": str(out),
            "valid": reached.metrics[reached.best_epoch - 1]["valid"],
            "users": len(run.seen.user_ids),
            "items": len(run.seen.item_ids),
            "sequences": sequences_digest(run.seen),
            "mask_history": run.settings.mask_history,
            **training_facts(run.model, run.folder, reached),
        }
        run.folder.write_validation(figures)
    return figures
