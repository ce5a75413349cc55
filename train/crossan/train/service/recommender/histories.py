"""What every user of a dataset has had, as it is now."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from crossan.cache_schema.errors import UsageError
from crossan.cache_schema.item_id import named
from crossan.common.datasets.ordering import ranked_ids, time_order
from crossan.train.sequences.splits import CatalogueRows

__all__ = ["Histories", "History"]


class History(NamedTuple):
    """One user's past."""

    read: CatalogueRows
    """What the model reads, oldest first: the kept sequence, as of every user of the run."""
    had: CatalogueRows
    """All items of the catalogue that the user ever had."""


class Histories:
    """The items of each user in time order.

    Also users are among them who have too few interactions for the run to have kept them.

    Parameters
    ----------
    interactions
        ``user_id``, ``item_id``, ``timestamp``, all of the dataset.
    catalogue
        Item ids, ``(items,)``, sorted. Other items are left out.
    most_items
        The last items of a user that are kept, None for all.
    """

    def __init__(
        self, interactions: pa.Table, catalogue: npt.NDArray[np.str_], most_items: int | None
    ) -> None:
        self._user_ids, users = ranked_ids(interactions.column("user_id"))
        item_ids, items = ranked_ids(interactions.column("item_id"))
        order = time_order(interactions.column("timestamp"), self._user_ids, users, items)
        # By the position among all items of the log: the row in the catalogue, -1 for none.
        rows = np.searchsorted(catalogue, item_ids).clip(max=len(catalogue) - 1)
        rows = np.where(catalogue[rows] == item_ids, rows, -1).astype(np.int64)
        users, items = users[order], rows[items[order]]
        is_known = items >= 0
        users, self._items = users[is_known], items[is_known]
        lengths = np.bincount(users, minlength=len(self._user_ids))
        self._offsets = np.concatenate([[0], np.cumsum(lengths)])
        self._most_items = most_items

    @property
    def user_count(self) -> int:
        """Users of the dataset."""
        return len(self._user_ids)

    def of(self, user: str) -> History:
        """Return a user's past.

        Raises
        ------
        UsageError
            The dataset has no such user, or one without an item of the catalogue.
        """
        row = int(np.searchsorted(self._user_ids, user)) if self._may_be_one(user) else -1
        if row < 0 or row == len(self._user_ids) or self._user_ids[row] != user:
            raise UsageError(
                f"user {named(user)}: not among the {len(self._user_ids):,} users of the dataset",
                remedy="Name the items that the user has had, in place of the user: history",
            )
        had = self._items[self._offsets[row] : self._offsets[row + 1]]
        if not len(had):
            raise UsageError(
                f"user {named(user)}: has none of the items that the model in production knows",
                remedy="Name other items in place of the user: history",
            )
        return History(had if self._most_items is None else had[-self._most_items :], had)

    def _may_be_one(self, user: str) -> bool:
        # Before NumPy gives every user the width of this one to compare them.
        return 4 * len(user) <= self._user_ids.dtype.itemsize
