"""What only training knows of a run, such as its seconds and its memory."""

from __future__ import annotations

import resource
from itertools import chain
from typing import Any

import torch
from torch import nn

from crossan.train.loop.saver import TrainingProgress
from crossan.train.loop.trainable import trainable_parameter_count
from crossan.train.record.run_folder import RunFolder

__all__ = ["training_facts"]


def training_facts(
    model: nn.Module, folder: RunFolder, reached: TrainingProgress
) -> dict[str, Any]:
    """Return parameters, epochs, seconds per epoch and bytes of memory at the most."""
    return {
        "trainable_parameters": trainable_parameter_count(model),
        "init": folder.initial(),
        "epochs": reached.epoch,
        "best_epoch": reached.best_epoch,
        "seconds_per_epoch": reached.seconds / reached.epoch,
        "peak_memory_bytes": _peak_memory(next(chain(model.parameters(), model.buffers())).device),
    }


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
