"""The test metrics of parts of the users.

The users are cut by what their target is and by how much is known of them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from crossan.train.evaluation.metrics import summarise

__all__ = ["history_bins", "popularity_deciles", "slice_metrics", "test_slices"]

Counts = npt.NDArray[np.int64]
"""A whole number for each of some items or users."""


def popularity_deciles(counts: Counts) -> Counts:
    """Return the popularity decile of every item, 1 to 10, ``(items,)``.

    The catalogue is sorted by training count, items of equal count by item id,
    and cut into ten parts with as equal numbers of items as possible. Decile 10
    holds the most popular items.
    """
    # By number of items, not by count: most items have few occurrences, and parts of equal count
    # would put nearly all of them into the first.
    deciles = np.empty(len(counts), dtype=np.int64)
    by_count = np.argsort(counts, kind="stable")
    deciles[by_count] = np.arange(len(counts)) * 10 // max(len(counts), 1) + 1
    return deciles


def history_bins(lengths: Counts) -> list[str]:
    """Return the name of the bin of every length.

    The bins are 1, 2, 3-4, 5-8, 9-16 and so on, each up to a power of two.
    """
    # The smallest power of two that is at least the length: (5 - 1).bit_length() is 3, 1 << 3 is 8.
    tops = [1 << (max(int(length), 1) - 1).bit_length() for length in lengths]
    return [str(top) if top <= 2 else f"{top // 2 + 1}-{top}" for top in tops]


def slice_metrics(ranks: Tensor, names: npt.NDArray[np.str_]) -> dict[str, dict[str, float]]:
    """Return the number of users and their metrics for each name, in the order of the names.

    Parameters
    ----------
    ranks
        Rank of each user's target, ``(users,)``.
    names
        The part that each user belongs to, ``(users,)``. A part without users
        is left out.
    """
    slices = {}
    for name in dict.fromkeys(names.tolist()):
        part = ranks[torch.from_numpy(names == name)]
        slices[str(name)] = {"users": len(part), **summarise(part)}
    return slices


def test_slices(
    ranks: Tensor, targets: Counts, lengths: Counts, counts: Counts
) -> dict[str, dict[str, dict[str, float]]]:
    """Return the slices of ``result.json``.

    Each has a dict for every part, with the number of ``users`` and their
    metrics.

    Parameters
    ----------
    ranks
        Rank of each user's test target, ``(users,)``.
    targets
        Catalogue row of that target, ``(users,)``.
    lengths
        Kept items before that target, ``(users,)``.
    counts
        Training count of each catalogue row, ``(items,)``.
    """
    cold = np.where(counts[targets] == 0, "cold", "warm")
    # `slice_metrics` keeps the order in which it meets the names, so users are sorted by the number
    # behind the name: as text, decile 10 would come before decile 2.
    deciles = popularity_deciles(counts)[targets]
    by_decile = np.argsort(deciles, kind="stable")
    by_length = np.argsort(lengths, kind="stable")
    return {
        "target": dict(sorted(slice_metrics(ranks, cold).items())),
        "target_popularity_decile": slice_metrics(
            ranks[torch.from_numpy(by_decile)], deciles[by_decile].astype(str)
        ),
        "history_length": slice_metrics(
            ranks[torch.from_numpy(by_length)],
            np.array(history_bins(lengths[by_length]), dtype=str),
        ),
    }


test_slices.__test__ = False  # type: ignore[attr-defined]
