"""The item popularity p_i of Eq. 7."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

__all__ = ["log_popularity", "training_counts"]


def training_counts(training_items: np.ndarray, item_count: int) -> np.ndarray:
    """Count how often each catalogue row occurs in the training part, ``(items,)`` int64."""
    return np.bincount(training_items, minlength=item_count).astype(np.int64)


def log_popularity(counts: np.ndarray) -> Tensor:
    """Return log p with p_i = max(count_i, 1) / all training counts, ``(items,)`` float32.

    The floor of one keeps log p finite for items never seen in training; as
    such items enter no training batch, it changes nothing there.
    """
    floored = np.maximum(counts, 1)
    return torch.from_numpy(np.log(floored / max(int(counts.sum()), 1)).astype(np.float32))
