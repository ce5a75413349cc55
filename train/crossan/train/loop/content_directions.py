"""The means and principal directions by which content becomes vectors."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from crossan.common.console import note, progress
from crossan.train.evaluation.encoding import ITEMS_PER_BLOCK
from crossan.train.features import ItemInputs
from crossan.train.features.prefetch import prepared_ahead
from crossan.train.layers.content_vectors import ContentVectors

__all__ = ["fit_content"]

_ITEMS = 16_384
"""Items, evenly spaced in the catalogue, whose directions are measured at most."""
_ROUNDS = 4
"""Rounds of subspace iteration. Beyond the third the sum of squares kept hardly grows."""
_SPARE = 16
"""Columns beside those that are kept, without which the last of them come out slowly."""


@torch.inference_mode()
def fit_content(content: ContentVectors, features: ItemInputs) -> None:
    """Set the means, and the directions where content is reduced to fewer numbers.

    The directions are those of the largest singular values of the matrix whose rows are
    the centred content of the items. They come from subspace iteration with Ritz vectors
    (Halko, Martinsson and Tropp, 2011, "Finding structure with randomness", algorithm 4.4).
    It starts from random numbers of a fixed seed, so the same items give the same
    directions. No more than a block of items is held.

    Parameters
    ----------
    content
        What is set.
    features
        The hidden states of the catalogue.
    """
    content.means.copy_(_means(features))
    if content.is_whole:
        return
    item_count = len(features.presence)
    rows = torch.arange(0, item_count, -(-item_count // _ITEMS))
    count, width = content.basis.shape
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(count, min(count, width + _SPARE), generator=generator)
    directions = torch.linalg.qr(start.to(content.basis))[0]

    def product(given: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``X' X`` times some directions, and the sum of all squares of X."""
        total, squares = torch.zeros_like(given), given.new_zeros(())
        for hidden, presence in _blocks(features, rows, "directions of the content"):
            block = content.directions(hidden, presence)
            total += block.T @ (block @ given)
            squares += block.square().sum()
        return total, squares

    for _ in range(_ROUNDS - 1):
        directions = torch.linalg.qr(product(directions)[0])[0]
    total, squares = product(directions)
    values, turn = torch.linalg.eigh(directions.T @ total)  # smallest first
    content.basis.copy_(directions @ turn.flip(1)[:, :width])
    kept = float(values.flip(0)[:width].sum() / squares.clamp(min=1e-12))
    note(f"content: {count:,} numbers of an item reduced to {width:,}, which keep {kept:.1%}")


def _means(features: ItemInputs) -> Tensor:
    """Return the mean of each layer over the items that have its modality, ``(directions,)``."""
    sums: list[Tensor] = []
    for hidden, presence in _blocks(
        features, torch.arange(len(features.presence)), "means of the content"
    ):
        sums = sums or [
            states.new_zeros(states.shape[1:], dtype=torch.float64) for states in hidden
        ]
        for m, states in enumerate(hidden):
            sums[m] += states[presence[:, m]].double().sum(dim=0)
    counts = features.presence.sum(dim=0).clamp(min=1).double()
    means = [one / count for one, count in zip(sums, counts, strict=True)]
    return torch.cat([one.flatten() for one in means])


def _blocks(
    features: ItemInputs, rows: Tensor, doing: str
) -> Iterator[tuple[list[Tensor], Tensor]]:
    """Yield the hidden states and the presence of some catalogue rows, block by block."""
    blocks = rows.split(ITEMS_PER_BLOCK)
    with (
        progress(doing, len(rows), "items") as shown,
        prepared_ahead(blocks, features.fetch) as ahead,
    ):
        for block, fetched in zip(blocks, ahead, strict=True):
            yield fetched.gather(block)
            shown.advance(len(block))
