"""Full-ranking evaluation: item vectors once, then every held-out item against the whole catalogue."""

from __future__ import annotations

from threading import Event

import numpy as np
import torch
from torch import Tensor

from crossan.common.console import progress
from crossan.train.evaluation.ranking import ranks_by_counting
from crossan.train.features import Features
from crossan.train.features.prefetch import prepared_ahead
from crossan.train.models.sequence_model import Crossan
from crossan.train.sequences.padding import PADDING
from crossan.train.sequences.splits import TestSplit, ValidationSplit
from crossan.train.settings import HistoryMask

__all__ = [
    "ITEMS_PER_BLOCK",
    "EvaluationStoppedError",
    "encode_items",
    "encode_users",
    "popularity_ranks",
    "rank_targets",
    "split_ranks",
]

ITEMS_PER_BLOCK = 1024
"""Items encoded at a time; another cut rounds otherwise."""
_USERS_PER_BLOCK = 4096


class EvaluationStoppedError(Exception):
    """Nobody waits for the figures any more: the process was told to end."""


@torch.inference_mode()
def encode_items(model: Crossan, features: Features, told_to_end: Event | None = None) -> Tensor:
    """Return the item vectors of the whole catalogue, ``(items, width)``.

    Raises
    ------
    EvaluationStoppedError
        ``told_to_end`` was set meanwhile.
    """
    model.eval()
    blocks = torch.arange(len(features.presence)).split(ITEMS_PER_BLOCK)
    vectors: list[Tensor] = []
    with (
        progress("encode items", len(features.presence), "items") as shown,
        prepared_ahead(blocks, features.fetch) as ahead,
    ):
        for block, fetched in zip(blocks, ahead, strict=True):
            if told_to_end is not None and told_to_end.is_set():
                raise EvaluationStoppedError
            found = model.item_vectors(fetched, block.to(features.presence.device))
            if not vectors:  # room for all at once: joining parts would take it twice
                vectors.append(found.new_empty((len(features.presence), found.shape[1])))
            vectors[0][int(block[0]) : int(block[-1]) + 1] = found
            shown.advance(len(block))
    return vectors[0]


@torch.inference_mode()
def encode_users(model: Crossan, item_vectors: Tensor, inputs: Tensor) -> Tensor:
    """Return the user vector after the last input, ``(users, width)``; inputs are padded on the left."""
    model.eval()
    parts = []
    for block in inputs.to(item_vectors.device).split(_USERS_PER_BLOCK):
        encoded = model.sequence_encoder(item_vectors[block.clamp(min=0)], block != PADDING)
        parts.append(encoded[:, -1])
    return torch.cat(parts)


def split_ranks(
    model: Crossan,
    item_vectors: Tensor,
    split: ValidationSplit | TestSplit,
    mask_history: HistoryMask,
) -> Tensor:
    """Return the 1-based rank of every user's target, ``(users,)`` on the CPU."""
    return rank_targets(
        encode_users(model, item_vectors, split.inputs), item_vectors, split, mask_history
    )


@torch.inference_mode()
def rank_targets(
    user_vectors: Tensor,
    item_vectors: Tensor,
    split: ValidationSplit | TestSplit,
    mask_history: HistoryMask,
) -> Tensor:
    """Return the 1-based rank of every user's target, ``(users,)`` on the CPU, by user vectors made before."""
    targets = split.targets.to(item_vectors.device)
    return ranks_by_counting(
        user_vectors, item_vectors, targets, split.histories, mask_history
    ).cpu()


def popularity_ranks(
    counts: np.ndarray, split: ValidationSplit | TestSplit, mask_history: HistoryMask
) -> Tensor:
    """Return the ranks when every user is shown the most popular items; items of equal count tie."""
    scores = torch.from_numpy(counts.astype(np.float32)).unsqueeze(1)
    everyone = torch.ones(len(split.targets), 1)
    return ranks_by_counting(everyone, scores, split.targets, split.histories, mask_history)
