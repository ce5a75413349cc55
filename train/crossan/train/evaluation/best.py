"""The best-scored items of every user, with their scores and with ties in a fixed order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from crossan.train.evaluation.best_by_gains import best_by_gains
from crossan.train.evaluation.ranker import Ranker, RanksSparsely

__all__ = ["NewItems", "best_items", "best_shown"]

_SCORES_PER_BLOCK = 4_000_000
"""Scores of some users and all items that are held at a time, 16 MB of float32."""


class NewItems(NamedTuple):
    """How many new items a list has at least, where there are so many."""

    least: int
    is_new: Tensor
    """Which items of the catalogue are new, ``(items,)`` bool."""


@torch.inference_mode()
def best_items(
    ranker: Ranker, histories: Sequence[np.ndarray], count: int, new: NewItems | None = None
) -> tuple[Tensor, Tensor]:
    """Return the best-scored items of each user that the history does not hold.

    The best come first; of items with equal scores the earlier catalogue row.

    Parameters
    ----------
    ranker
        The users' scores.
    histories
        Catalogue rows of each user's items, which are left out.
    count
        Items for each user, at least 1.
    new
        Where a list has fewer new items than the least, the best of the others take the
        places of the last items that are not new. None for the list as it is.

    Returns
    -------
    tuple[Tensor, Tensor]
        Catalogue rows ``(users, count)`` int64 and their scores ``(users, count)``, both on the
        CPU. Where fewer than ``count`` items are left, the end holds -1 and minus infinity.
    """
    best = _best_of_all(ranker, histories, count)
    if new is None or not new.least:
        return best
    least = min(new.least, count)
    return _with_new(*best, *_best_dense(ranker, histories, least, new.is_new))


@torch.inference_mode()
def best_shown(
    ranker: Ranker, histories: Sequence[np.ndarray], count: int, is_shown: Tensor
) -> tuple[Tensor, Tensor]:
    """Return what `best_items` does, of some items alone.

    Parameters
    ----------
    ranker, histories, count
        As of `best_items`.
    is_shown
        Which items of the catalogue may be in a list, ``(items,)`` bool.
    """
    return _best_dense(ranker, histories, count, is_shown)


def _best_of_all(
    ranker: Ranker, histories: Sequence[np.ndarray], count: int
) -> tuple[Tensor, Tensor]:
    if isinstance(ranker, RanksSparsely):
        return best_by_gains(ranker, histories, count)
    return _best_dense(ranker, histories, count)


def _best_dense(
    ranker: Ranker, histories: Sequence[np.ndarray], count: int, is_shown: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the best of all items, or of those that may be shown, from all scores."""
    kept = min(count, ranker.item_count)
    rows = torch.full((ranker.user_count, count), -1, dtype=torch.int64)
    scores = torch.full((ranker.user_count, count), float("-inf"))
    everyone = torch.arange(ranker.user_count, device=ranker.device)
    for users in everyone.split(max(1, _SCORES_PER_BLOCK // ranker.item_count)):
        block = ranker.scores(users, slice(0, ranker.item_count))
        _mask(block, [histories[user] for user in users.tolist()])
        if is_shown is not None:
            block[:, ~is_shown.to(block.device)] = float("-inf")
        best, columns = _best_of(block, kept)
        user_rows = users.cpu()
        rows[user_rows, :kept] = columns.masked_fill(best == float("-inf"), -1).cpu()
        scores[user_rows, :kept] = best.float().cpu()
    return rows, scores


def _with_new(
    rows: Tensor, scores: Tensor, new_rows: Tensor, new_scores: Tensor
) -> tuple[Tensor, Tensor]:
    """Return lists that hold the best new items, and the best others in what places are left.

    Parameters
    ----------
    rows, scores
        The best items of each user, ``(users, count)``.
    new_rows, new_scores
        The best new ones, ``(users, least)``, -1 at the end where there are fewer.
    """
    count = rows.shape[1]
    is_among = (rows.unsqueeze(2) == new_rows.unsqueeze(1)).any(dim=2)
    places_left = count - (new_rows >= 0).sum(dim=1, keepdim=True)
    # A new item of the list that is not among the best new ones is one of the others.
    is_other = ~is_among & (rows >= 0)
    is_kept = is_other & (is_other.cumsum(dim=1) <= places_left)
    all_rows = torch.cat([rows.masked_fill(~is_kept, -1), new_rows], dim=1)
    all_scores = torch.cat([scores.masked_fill(~is_kept, float("-inf")), new_scores], dim=1)
    # By the row first, so that of equal scores the earlier row comes first.
    by_row = all_rows.argsort(dim=1, stable=True)
    all_rows, all_scores = all_rows.gather(1, by_row), all_scores.gather(1, by_row)
    ordered, order = all_scores.sort(dim=1, descending=True, stable=True)
    return all_rows.gather(1, order)[:, :count], ordered[:, :count]


def _mask(scores: Tensor, histories: Sequence[np.ndarray]) -> None:
    """Set the items of each user's history to minus infinity, in place."""
    users = np.repeat(np.arange(len(histories)), [len(items) for items in histories])
    items = np.concatenate([np.zeros(0, np.int64), *histories])
    where = torch.from_numpy(users).to(scores.device), torch.from_numpy(items).to(scores.device)
    scores[where] = float("-inf")


def _best_of(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the highest of each row and their columns, both ``(rows, count)``."""
    # One more than is wanted, as it tells whether the last place could go to several items. `topk`
    # says nothing of ties: the earliest get it. With vectors such rows are few, with counts most.
    best, columns = scores.topk(min(count + 1, scores.shape[1]), dim=1)
    least = best[:, count - 1 : count]
    is_tied = (best[:, count:] == least).any(dim=1)
    best, columns = best[:, :count], columns[:, :count]
    if is_tied.any():
        tied, least = scores[is_tied], least[is_tied]
        places = count - (best[is_tied] > least).sum(dim=1, keepdim=True)
        is_last = tied == least
        is_taken = (tied > least) | (is_last & (is_last.cumsum(1, dtype=torch.int32) <= places))
        # Every row takes `count` columns, so they lie one row after the other.
        columns[is_tied] = is_taken.nonzero()[:, 1].view(-1, count)
    columns = columns.sort(dim=1).values
    ordered, order = scores.gather(1, columns).sort(dim=1, descending=True, stable=True)
    return ordered, columns.gather(1, order)
