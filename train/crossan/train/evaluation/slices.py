"""The test metrics of parts of the users: by what they are looking for and by how much is known of them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from crossan.train.evaluation.metrics import summarise

__all__ = ["history_bins", "popularity_deciles", "slice_metrics", "test_slices"]

Counts = npt.NDArray[np.int64]


def popularity_deciles(counts: Counts) -> Counts:
    """Return each item's decile of popularity, 1 to 10, ``(items,)``.

    The catalogue is sorted by training count, items of equal count by item id,
    and cut into ten parts of equally many items as far as that goes; 10 holds
    the most popular.
    """
    deciles = np.empty(len(counts), dtype=np.int64)
    deciles[np.argsort(counts, kind="stable")] = (
        np.arange(len(counts)) * 10 // max(len(counts), 1) + 1
    )
    return deciles


def history_bins(lengths: Counts) -> list[str]:
    """Return a name for each length's bin: 1, 2, 3-4, 5-8, 9-16 and so on, each up to a power of two."""
    tops = [1 << (max(int(length), 1) - 1).bit_length() for length in lengths]
    return [str(top) if top <= 2 else f"{top // 2 + 1}-{top}" for top in tops]


def slice_metrics(ranks: Tensor, names: npt.NDArray[np.str_]) -> dict[str, dict[str, float]]:
    """Return the number of users and their metrics for each name.

    Parameters
    ----------
    ranks
        Rank of each user's target, ``(users,)``.
    names
        The part that each user belongs to, ``(users,)``; a part without users is left out.
    """
    return {
        str(name): {"users": len(part), **summarise(part)}
        for name in dict.fromkeys(names.tolist())
        for part in [ranks[torch.from_numpy(names == name)]]
    }


def test_slices(
    ranks: Tensor, targets: Counts, lengths: Counts, counts: Counts
) -> dict[str, dict[str, object]]:
    """Return the slices of ``result.json``, each ``{name: {"users", metric: value}}``.

    Parameters
    ----------
    ranks
        Rank of each user's test target, ``(users,)``.
    targets
        Catalogue row of it, ``(users,)``.
    lengths
        Kept items before it, ``(users,)``.
    counts
        Training count of each catalogue row, ``(items,)``.
    """
    deciles = popularity_deciles(counts)[targets]
    by_decile, by_length = np.argsort(deciles, kind="stable"), np.argsort(lengths, kind="stable")
    cold = np.where(counts[targets] == 0, "cold", "warm")
    order = torch.from_numpy
    return {
        "target": dict(sorted(slice_metrics(ranks, cold).items())),
        "target_popularity_decile": dict(
            slice_metrics(ranks[order(by_decile)], deciles[by_decile].astype(str))
        ),
        "history_length": dict(
            slice_metrics(
                ranks[order(by_length)], np.array(history_bins(lengths[by_length]), dtype=str)
            )
        ),
    }


test_slices.__test__ = False  # type: ignore[attr-defined]
