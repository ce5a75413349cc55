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


def slice_metrics(
    ranks: Tensor, names: npt.NDArray[np.str_], users: Tensor | None = None
) -> dict[str, dict[str, float]]:
    """Return the number of users and their metrics for each name, in the order of the names.

    Of a user with several targets those of the name count alone, and a user
    without one does not count.

    Parameters
    ----------
    ranks
        Rank of each target, ``(targets,)``.
    names
        The part that each target belongs to, ``(targets,)``. A part without
        targets is left out.
    users
        User of each target, ``(targets,)``. By default each has its own.
    """
    users = torch.arange(len(ranks)) if users is None else users
    slices = {}
    for name in dict.fromkeys(names.tolist()):
        is_part = torch.from_numpy(names == name)
        part, part_users = ranks[is_part], users[is_part]
        count = len(part_users.unique_consecutive())
        slices[str(name)] = {"users": count, **summarise(part, part_users)}
    return slices


def test_slices(
    ranks: Tensor,
    targets: Counts,
    lengths: Counts,
    counts: Counts,
    users: Tensor,
) -> dict[str, dict[str, dict[str, float]]]:
    """Return the slices of ``result.json``.

    Each has a dict for every part, with the number of ``users`` and their
    metrics.

    Parameters
    ----------
    ranks
        Rank of each test target, ``(targets,)``.
    targets
        Catalogue row of that target, ``(targets,)``.
    lengths
        Items that the target is ranked after, ``(targets,)``.
    counts
        Training count of each catalogue row, ``(items,)``.
    users
        User of each target, ``(targets,)``, in order.
    """
    cold = np.where(counts[targets] == 0, "cold", "warm")
    # By the number behind the name: as text, decile 10 would come before decile 2.
    deciles = popularity_deciles(counts)[targets]
    bins = np.array(history_bins(lengths), dtype=str)
    return {
        "target": dict(sorted(slice_metrics(ranks, cold, users).items())),
        "target_popularity_decile": _in_order(
            slice_metrics(ranks, deciles.astype(str), users), deciles.astype(str), deciles
        ),
        "history_length": _in_order(slice_metrics(ranks, bins, users), bins, lengths),
    }


def _in_order(
    slices: dict[str, dict[str, float]], names: npt.NDArray[np.str_], numbers: Counts
) -> dict[str, dict[str, float]]:
    """Return the slices in the order of the numbers behind their names."""
    ordered = dict.fromkeys(names[np.argsort(numbers, kind="stable")].tolist())
    return {name: slices[name] for name in ordered}


test_slices.__test__ = False  # type: ignore[attr-defined]
