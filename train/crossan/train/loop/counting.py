"""A run of a model that only counts.

No step is taken, and the run folder is like any other.
"""

from __future__ import annotations

import time
from typing import Any

from crossan.train.evaluation.encoding import make_rankers, target_ranks
from crossan.train.evaluation.held_out import validation_figures
from crossan.train.loop.progress import TrainingProgress
from crossan.train.loop.saying import times
from crossan.train.loop.trainable import RefitRun, TrainableRun
from crossan.train.record.checkpoint import BEST, Checkpoint
from crossan.train.sequences.popularity import training_counts
from crossan.train.sequences.splits import validation_split

__all__ = ["count"]


def count(run: TrainableRun | RefitRun) -> TrainingProgress:
    """Write the counts as the weights of epoch 1 and return that one epoch was done.

    The model counted when it was built. A run that is resumed counts again:
    over the same sequences, which its folder makes sure of, that gives the same. The
    counts of a refit are not judged.
    """
    start = time.monotonic()
    run.folder.forget_figures()
    judged = _judged(run) if isinstance(run, TrainableRun) else {"valid": None}
    hit_ratio = None if judged["valid"] is None else judged["valid"]["hr@10"]
    weights = {name: tensor.detach() for name, tensor in run.model.state_dict().items()}
    state = {"epoch": 1, "hr@10": hit_ratio}
    run.folder.save_checkpoint(BEST, Checkpoint({"model": weights}, state))
    seconds = time.monotonic() - start
    line = {"epoch": 1, "loss": None, **judged, "is_best": True, **times(seconds)}
    run.folder.write_metrics([line])
    return TrainingProgress(
        epoch=1,
        best_epoch=1,
        best_hr=-1.0 if hit_ratio is None else hit_ratio,
        seconds=seconds,
        seconds_before=seconds,
        metrics=[line],
    )


def _judged(run: TrainableRun) -> dict[str, Any]:
    split = validation_split(run.seen, run.settings.data.input_length)
    ranker = make_rankers(run.model, run.features, {"valid": split})["valid"]
    counts = training_counts(run.seen.training_items, len(run.seen.item_ids))
    ranks = target_ranks(ranker, split, run.settings.mask_history)
    return validation_figures(ranks, split, counts)
