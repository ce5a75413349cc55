"""A few items that stand for many, where encoding all of them in a step would cost too much."""

from __future__ import annotations

import zlib

import torch
from torch import Tensor

__all__ = ["drawn_by", "standing_for"]


def drawn_by(sequences: Tensor, count: int, size: int) -> Tensor:
    """Draw ``size`` of the numbers below ``count``, or all of them where they are fewer.

    The batch is the seed and nothing else is: a resumed run draws the same, in
    whatever thread.

    Parameters
    ----------
    sequences
        Catalogue rows of the batch, any shape, on the CPU.
    count, size
        How many there are, and how many to draw.
    """
    generator = torch.Generator().manual_seed(zlib.crc32(sequences.contiguous().numpy().tobytes()))
    return torch.randperm(count, generator=generator)[:size]


def standing_for(vectors: Tensor, weight: float) -> Tensor:
    """Return the vectors as they are, ``(drawn, width)``, with ``weight`` times their gradient."""
    constant = vectors.detach()
    return constant + weight * (vectors - constant)
