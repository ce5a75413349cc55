"""The best-scored items of every user, where most scores are the same for everybody.

An item is among the best of a user because the user gains it, or because it is
among the best for everybody. So few are looked at: the highest of what the user
gains, and the first of the order that all share.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from torch import Tensor

from crossan.common.heartbeat import beat
from crossan.train.evaluation.masking import Masked
from crossan.train.evaluation.ranker import RanksSparsely, gains_at
from crossan.train.sequences.splits import CatalogueRows

__all__ = ["best_by_gains"]

_USERS_AT_ONCE = 1024
"""Users whose gains are held at a time."""
_BEYOND = 32
"""Places of the shared order that are looked at first, beside as many as are wanted."""


def best_by_gains(
    ranker: RanksSparsely, histories: Sequence[np.ndarray], count: int
) -> tuple[Tensor, Tensor]:
    """Return what `crossan.train.evaluation.best.best_items` does, from few scores.

    Of items with equal scores the earlier catalogue row comes first.
    """
    rows = np.full((ranker.user_count, count), -1, dtype=np.int64)
    scores = np.full((ranker.user_count, count), -np.inf, dtype=np.float32)
    base = ranker.base_scores().numpy(force=True)
    order = np.argsort(-base, kind="stable")
    everyone = torch.arange(ranker.user_count, device=ranker.device)
    for users in everyone.split(_USERS_AT_ONCE):
        beat()
        seen = _Seen(histories, users, ranker.item_count)
        gains = ranker.gains_after(users)
        gained = _best_gained(gains, base, seen, count)
        # Who gains enough that is better than the best for everybody has no need of that.
        highest = base[order[0]] if len(order) else -np.inf
        better = np.bincount(gained.rows[gained.scores > highest], minlength=len(users))
        shared = _best_shared(np.flatnonzero(better < count), gains, base, order, seen, count)
        best = _Candidates.joined([gained, *shared])
        places = np.arange(len(best.rows)) - np.searchsorted(best.rows, best.rows)
        is_shown = places < count
        cells = users.cpu().numpy()[best.rows[is_shown]], places[is_shown]
        rows[cells], scores[cells] = best.items[is_shown], best.scores[is_shown]
    return torch.from_numpy(rows), torch.from_numpy(scores)


class _Seen:
    """The histories of some users, for looking up whether an item is among them."""

    def __init__(self, histories: Sequence[np.ndarray], users: Tensor, item_count: int) -> None:
        rows, items = Masked.of_histories(histories, users, None, "all").pairs(item_count)
        self._keys, self._item_count = rows * item_count + items, item_count
        self.counts = np.bincount(rows, minlength=len(users))
        """Distinct items of each user."""

    def holds(self, rows: CatalogueRows, items: CatalogueRows) -> npt.NDArray[np.bool_]:
        """Return whether each item is in the history of the user of its row."""
        return np.isin(rows * self._item_count + items, self._keys)


@dataclass(frozen=True, slots=True)
class _Candidates:
    """Items with their scores, each ``(candidates,)``; rows count the users of a block."""

    rows: CatalogueRows
    items: CatalogueRows
    scores: np.ndarray

    def where(self, is_kept: npt.NDArray[np.bool_]) -> _Candidates:
        """Return some of them."""
        return _Candidates(self.rows[is_kept], self.items[is_kept], self.scores[is_kept])

    @classmethod
    def joined(cls, parts: Sequence[_Candidates]) -> _Candidates:
        """Return all that can be shown, row after row, the best first."""
        rows, items, scores = (
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("rows", "items", "scores")
        )
        order = np.lexsort((items, -scores, rows))
        best = cls(rows[order], items[order], scores[order])
        return best.where(best.scores > -np.inf)


def _best_gained(gains: sparse.csr_array, base: np.ndarray, seen: _Seen, count: int) -> _Candidates:
    """Return what each user gains and has not seen, of many items the highest and what ties."""
    scores = base[gains.indices] + gains.data.astype(base.dtype)
    is_kept = gains.data != 0  # a gain of nothing leaves an item in its place of the shared order
    # As many more as may turn out to be seen.
    most = np.minimum(count + seen.counts, np.diff(gains.indptr))
    for row in np.flatnonzero(most < np.diff(gains.indptr)):
        of_user = slice(gains.indptr[row], gains.indptr[row + 1])
        user_scores = np.where(is_kept[of_user], scores[of_user], -np.inf)
        is_kept[of_user] &= user_scores >= np.partition(user_scores, -most[row])[-most[row]]
    rows = np.repeat(np.arange(gains.shape[0]), np.diff(gains.indptr))[is_kept]
    kept = _Candidates(rows, gains.indices[is_kept].astype(np.int64), scores[is_kept])
    return kept.where(~seen.holds(kept.rows, kept.items))


def _best_shared(
    rows: CatalogueRows,
    gains: sparse.csr_array,
    base: np.ndarray,
    order: CatalogueRows,
    seen: _Seen,
    count: int,
) -> Iterator[_Candidates]:
    """Yield for some rows the best items that they neither gain nor have seen."""
    reach = count + _BEYOND
    while len(rows):
        items = np.tile(order[:reach], len(rows))
        of_row = np.repeat(rows, len(order[:reach]))
        is_free = gains_at(gains, of_row, items) == 0
        is_free &= ~seen.holds(of_row, items)
        is_free_at = is_free.reshape(len(rows), -1)
        is_first = is_free_at & (np.cumsum(is_free_at, axis=1) <= count)
        # Whose places are nearly all taken looks further down the order, again from the top.
        is_done = (is_first.sum(axis=1) == count) | (reach >= len(order))
        is_first[~is_done] = False
        yield _Candidates(of_row, items, base[items]).where(is_first.ravel())
        rows, reach = rows[~is_done], 4 * reach
