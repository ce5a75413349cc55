"""What only training knows of a run, such as its seconds and its memory."""

from __future__ import annotations

import resource
from collections.abc import Mapping
from itertools import chain
from typing import Any

import torch

from crossan.cache_schema.errors import StoreIntegrityError
from crossan.train.loop.choosing import way_of_steps
from crossan.train.loop.progress import TrainingProgress
from crossan.train.loop.trainable import RefitRun, TrainableRun, trainable_parameter_count
from crossan.train.record.run_folder import RunFolder
from crossan.train.runs.opening import OpenedRun
from crossan.train.runs.peak_memory import PeakMemory
from crossan.train.settings import RunSettings

__all__ = ["TRAINING_FACTS", "earlier_facts", "training_facts"]

TRAINING_FACTS = (
    "trainable_parameters",
    "init",
    "steps",
    "epochs",
    "best_epoch",
    "stopped_by",
    "drops",
    "seconds_per_epoch",
    "peak_memory_bytes",
    "predicted_memory_bytes",
    "mixture",
)
"""Names of all that `training_facts` can return."""


def earlier_facts(folder: RunFolder) -> Mapping[str, Any]:
    """Return what a run has recorded before it goes on, empty where that is nothing.

    A damaged record is as good as none, because the run is about to write it anew.
    """
    try:
        return folder.result() or folder.validation() or {}
    except StoreIntegrityError:
        return {}


def training_facts(
    run: OpenedRun | TrainableRun | RefitRun,
    reached: TrainingProgress,
    earlier: Mapping[str, Any],
    predicted: PeakMemory | None = None,
) -> dict[str, Any]:
    """Return parameters, epochs, seconds per epoch, bytes of memory at the most, and the like.

    Parameters
    ----------
    run
        What was trained.
    reached
        How far it got.
    earlier
        What `earlier_facts` gave before training. A process that found nothing left
        to train has not used the memory that training took: the greater one stays.
    predicted
        What was predicted of the memory, None where nothing was.
    """
    device = next(chain(run.model.parameters(), run.model.buffers())).device
    memory = _peak_memory(device)
    if earlier.get("epochs") == reached.epoch:
        memory = max(memory, earlier.get("peak_memory_bytes") or 0)
    return {
        "trainable_parameters": trainable_parameter_count(run.model),
        "init": run.folder.initial(),
        "steps": way_of_steps(run.settings, device),
        "epochs": reached.epoch,
        "best_epoch": reached.best_epoch,
        **_end_of(run.settings, reached),
        "seconds_per_epoch": reached.seconds_per_epoch,
        "peak_memory_bytes": memory,
        **({} if predicted is None else {"predicted_memory_bytes": predicted.total}),
        **_mixture(reached),
    }


def _end_of(settings: RunSettings, reached: TrainingProgress) -> dict[str, Any]:
    """Return what ended a training that takes steps, and where its rates dropped, if anywhere."""
    if not settings.model.is_trained_by_steps:
        return {}
    drops = {"drops": list(reached.drops)} if reached.drops else {}
    return {"stopped_by": reached.stopped_by(settings) or "ended", **drops}


def _mixture(reached: TrainingProgress) -> dict[str, Any]:
    """Return what the terms of a hybrid of runs count, nothing of any other run."""
    lines = [line for line in reached.metrics[-1:] if "mixture" in line]
    return {"mixture": lines[0]["mixture"]} if lines else {}


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
