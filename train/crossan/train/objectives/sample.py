"""A few items that stand for many, where a step that encodes all of them would cost too much."""

from __future__ import annotations

import zlib

import torch
from torch import Tensor

__all__ = ["drawn_by", "standing_for"]


def drawn_by(sequences: Tensor, count: int, size: int) -> Tensor:
    """Draw ``size`` of the numbers below ``count``, or all where there are fewer.

    Parameters
    ----------
    sequences
        Catalogue rows of the batch, any shape, on the CPU.
    count, size
        How many numbers there are, and how many to draw.
    """
    # The batch is the seed and nothing else is: a resumed run draws the same numbers, whichever
    # thread draws them and whatever it drew before.
    generator = torch.Generator().manual_seed(zlib.crc32(sequences.contiguous().numpy().tobytes()))
    return torch.randperm(count, generator=generator)[:size]


def standing_for(vectors: Tensor, weight: float) -> Tensor:
    """Return the vectors as they are, ``(drawn, width)``, with ``weight`` times their gradient."""
    constant = vectors.detach()
    # The difference is zero, but its gradient is not.
    return constant + weight * (vectors - constant)
