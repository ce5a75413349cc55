"""Item vectors of the whole catalogue, encoded by all ranks: bit for bit those that one process computes."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event

import torch
from torch import Tensor

from crossan.common.console import progress
from crossan.train.evaluation.encoding import ITEMS_PER_BLOCK, EvaluationStoppedError, encode_items
from crossan.train.features import Features
from crossan.train.models.sequence_model import SequenceModel
from crossan.train.ranks.ranks import Ranks

__all__ = ["encode_items_together"]


@torch.inference_mode()
def encode_items_together(
    ranks: Ranks, model: SequenceModel, features: Features, told_to_end: Event
) -> Tensor:
    """Return the item vectors of the whole catalogue on every rank, ``(items, width)``.

    The blocks are one process's, dealt out one by one: another cut would round
    matmuls otherwise.

    Raises
    ------
    EvaluationStoppedError
        On every rank, where one was told to end meanwhile.
    """
    if ranks.count == 1:
        return encode_items(model, features, told_to_end)
    model.eval()
    rows = torch.arange(len(features.presence), device=features.presence.device)
    parts = []
    with progress("encode items", len(rows), "items") as shown:
        for blocks in _in_rounds(rows.split(ITEMS_PER_BLOCK), ranks.count):
            if any(ranks.highest(told_to_end.is_set() or ranks.told_to_end.is_set())):
                raise EvaluationStoppedError
            mine = blocks[ranks.number] if ranks.number < len(blocks) else rows[:0]
            vectors = model.item_vectors(features, mine)
            padded = vectors.new_zeros(1, ITEMS_PER_BLOCK, vectors.shape[1])
            padded[0, : len(mine)] = vectors
            parts += [
                found[: len(block)]
                for found, block in zip(ranks.gather(padded, ranks.count), blocks, strict=False)
            ]
            shown.advance(sum(map(len, blocks)))
    return torch.cat(parts)


def _in_rounds(blocks: tuple[Tensor, ...], count: int) -> Iterator[tuple[Tensor, ...]]:
    """Yield ``count`` blocks at a time, fewer at the end."""
    for start in range(0, len(blocks), count):
        yield blocks[start : start + count]
