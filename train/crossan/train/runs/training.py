"""A run from its settings to ``result.json``.

Three functions in a row make it: `plan_run`, `claim` and `train`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from crossan.common.console import note
from crossan.train.evaluation.result import figures_of, rank_everyone, write_ranks
from crossan.train.loop.saver import Progress
from crossan.train.loop.trainer import TrainingData, fit
from crossan.train.models.recommender import CountingModel, item_rows_of
from crossan.train.models.sequence_model import SequenceModel
from crossan.train.record.checkpoint import load_weights
from crossan.train.record.run_folder import RANKS_FILE
from crossan.train.record.spec import exact_kernels
from crossan.train.runs.counting import count
from crossan.train.runs.facts import trainable_parameter_count, training_facts
from crossan.train.runs.launch import Launch
from crossan.train.runs.opening import OpenedRun, TrainableRun, best_weights
from crossan.train.runs.planning import RunPlan, claim, plan_run
from crossan.train.sequences.popularity import log_popularity, training_counts
from crossan.train.sequences.splits import train_split, validation_split
from crossan.train.settings import HistoryMask, RunSettings

__all__ = ["evaluate_run", "train", "train_run"]


def train_run(settings: RunSettings, out: Path, launch: Launch) -> dict[str, Any]:
    """Train a run in ``out`` and return its result, which is also in ``result.json``.

    Parameters
    ----------
    settings
        Everything that fixes the run on one machine class.
    out
        The run folder.
    launch
        Where it is trained and by whom. Of several ranks only the first has a result.

    Raises
    ------
    CrossanError
        Whatever stops a run: see the modules it is made of.
    """
    with exact_kernels():
        plan = plan_run(settings, out, launch)
        with claim(plan):
            reached = train(plan.without_test())
            if not launch.ranks.is_first:
                return {}  # what is left is done once
            run = plan.run
            weights = best_weights(run.folder, reached.best_epoch)
            load_weights(run.model, weights, str(run.folder.path))
            result = evaluate_run(run, run.settings.mask_history, should_write=True)
            result |= training_facts(run.model, run.folder, reached)
            run.folder.write_result(result)
    return result


def train(plan: RunPlan[TrainableRun]) -> Progress:
    """Train until early stopping and return how far it got.

    The best weights are in the run folder then.

    Raises
    ------
    CrossanError
        Training diverged, or a checkpoint is damaged.
    """
    run, ranks = plan.run, plan.launch.ranks
    _announce(run, ranks.count)
    if isinstance(run.model, CountingModel):
        return count(run)
    if not isinstance(run.model, SequenceModel):
        raise TypeError(
            f"expected a SequenceModel or a CountingModel, got {type(run.model).__name__}"
        )
    length = run.settings.data.input_length
    counts = training_counts(run.seen.training_items, len(run.seen.item_ids))
    data = TrainingData(
        train_split(run.seen, length),
        validation_split(run.seen, length),
        log_popularity(counts).to(run.features.presence.device),
        run.seen.item_ids,
    )
    return fit(run.model, run.features, data, run.settings, run.folder, ranks)


def evaluate_run(
    run: OpenedRun, mask_history: HistoryMask, *, should_write: bool = False
) -> dict[str, Any]:
    """Rank validation and test targets over the whole catalogue, popularity beside them.

    Parameters
    ----------
    run
        The run with the weights to judge.
    mask_history
        Which of a user's items before the target are left out.
    should_write
        Whether ``eval/per_user.parquet`` is written.
    """
    length = run.settings.data.input_length
    ranked = rank_everyone(run.model, run.features, run.kept, length, mask_history)
    if should_write:
        write_ranks(ranked, run.folder.path / RANKS_FILE)
    return {
        "run": str(run.folder.path),
        "model": run.settings.model.kind,
        **figures_of(ranked),
    }


def _announce(run: TrainableRun, rank_count: int) -> None:
    parts = [run.settings.model.kind, *(modality.value for modality in run.features.modalities)]
    if run.features.modalities:
        parts.append(f"{run.features.layer_count} kept layers")
    if item_rows_of(run.model) and isinstance(run.model, SequenceModel):
        parts.append("a vector per item id")
    note(
        f"{len(run.seen.user_ids):,} users, {len(run.seen.item_ids):,} items, {', '.join(parts)};"
        f" {trainable_parameter_count(run.model):,} trainable parameters"
        + (f"; {rank_count} ranks" if rank_count > 1 else "")
    )
    absent_counts = (~run.features.presence).sum(dim=0).tolist()
    absent = [
        f"{modality.value} {absent_count:,}"
        for modality, absent_count in zip(run.features.modalities, absent_counts, strict=True)
    ]
    if absent:
        note(f"items without: {', '.join(absent)}")
