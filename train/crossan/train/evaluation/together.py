"""Item vectors of the whole catalogue, encoded by all ranks.

They are bit for bit those that one process computes.
"""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event

import torch
from torch import Tensor

from crossan.common.console import progress
from crossan.train.evaluation.encoding import ITEMS_PER_BLOCK, EvaluationStoppedError, encode_items
from crossan.train.features import ItemInputs
from crossan.train.models.sequence_model import SequenceModel
from crossan.train.ranks.ranks import Ranks
from crossan.train.record.encoded_items import EncodedItems

__all__ = ["encode_items_together"]


@torch.inference_mode()
def encode_items_together(
    ranks: Ranks,
    model: SequenceModel,
    features: ItemInputs,
    told_to_end: Event,
    kept: EncodedItems | None = None,
) -> Tensor:
    """Return the item vectors of the whole catalogue on every rank, ``(items, width)``.

    ``kept`` serves one process alone: several begin anew.

    Raises
    ------
    EvaluationStoppedError
        On every rank, if one of them was told to end meanwhile.
    """
    if ranks.count == 1:
        return encode_items(model, features, told_to_end, kept)
    model.eval()
    rows = torch.arange(len(features.presence), device=features.presence.device)
    parts = []
    with progress("encode items", len(rows), "items") as shown:
        # Each block is encoded whole, by one rank: a matmul over a part of it would round in
        # another way than the matmul of one process does.
        for blocks in _in_rounds(rows.split(ITEMS_PER_BLOCK), ranks.count):
            # All ranks decide together: one that stopped alone would leave the others waiting.
            if any(ranks.highest(told_to_end.is_set() or ranks.told_to_end.is_set())):
                raise EvaluationStoppedError
            is_idle = ranks.number >= len(blocks)  # some ranks are, in the last round
            mine = rows[:0] if is_idle else blocks[ranks.number]
            vectors = model.item_vectors(features, mine)
            # Padded to a whole block, because every rank has to send the same shape.
            padded = vectors.new_zeros(1, ITEMS_PER_BLOCK, vectors.shape[1])
            padded[0, : len(mine)] = vectors
            gathered = ranks.gather(padded, ranks.count)
            parts += [
                of_block[: len(block)] for of_block, block in zip(gathered, blocks, strict=False)
            ]
            shown.advance(sum(map(len, blocks)))
    return torch.cat(parts)


def _in_rounds(blocks: tuple[Tensor, ...], count: int) -> Iterator[tuple[Tensor, ...]]:
    """Yield ``count`` blocks at a time, fewer at the end."""
    for start in range(0, len(blocks), count):
        yield blocks[start : start + count]
