"""The figures of one part of the targets, those that nobody had in training beside all."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from crossan.train.evaluation.metrics import summarise
from crossan.train.sequences.splits import TestSplit, ValidationSplit

__all__ = ["cold_figures", "validation_figures"]


def validation_figures(ranks: Tensor, split: ValidationSplit, counts: np.ndarray) -> dict[str, Any]:
    """Return what a validation says, as a line of ``metrics.jsonl`` has it.

    Parameters
    ----------
    ranks
        1-based ranks of the targets, ``(targets,)``.
    split
        The targets.
    counts
        Training count of each catalogue row, ``(items,)``.

    Returns
    -------
    dict
        ``valid``, every metric of all targets, and ``cold_valid`` as `cold_figures` gives it.
    """
    return {
        "valid": summarise(ranks, split.users),
        "cold_valid": cold_figures(ranks, split, counts),
    }


def cold_figures(
    ranks: Tensor, split: ValidationSplit | TestSplit, counts: np.ndarray
) -> dict[str, float]:
    """Return the number of targets that nobody had in training, and their HR@10 and NDCG@10.

    Parameters are as for `validation_figures`.
    """
    is_cold = torch.from_numpy(counts == 0)[split.targets]
    cold = summarise(ranks[is_cold], split.users[is_cold])
    return {"targets": int(is_cold.sum()), "hr@10": cold["hr@10"], "ndcg@10": cold["ndcg@10"]}
