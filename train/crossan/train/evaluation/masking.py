"""The history items that are left out of a ranking."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from crossan.train.sequences.splits import CatalogueRows
from crossan.train.settings import HistoryMask

__all__ = ["Histories", "Masked"]

Histories = Sequence[np.ndarray]
"""Catalogue rows of every user's items that targets are ranked after, oldest first."""


class Masked:
    """Items that are left out of some rows of scores.

    Parameters
    ----------
    rows, items
        Row of the scores and catalogue row of each item that is left out.
    hidden_targets
        Rows whose own target is among them.
    device
        Where the scores are.
    """

    def __init__(
        self,
        rows: CatalogueRows,
        items: CatalogueRows,
        hidden_targets: CatalogueRows,
        device: torch.device,
    ) -> None:
        self._unsorted = rows, items
        # Sorted by item, so that those of one block of items are a slice between two searches.
        order = np.argsort(items, kind="stable")
        self._items = items[order]
        self._rows = torch.from_numpy(rows[order]).to(device)
        self.hidden_targets = torch.from_numpy(hidden_targets).to(device)

    @classmethod
    def of_histories(
        cls,
        histories: Histories,
        users: Tensor,
        targets: Tensor | None,
        mask_history: HistoryMask,
    ) -> Masked:
        """Leave out the history of the user of each row, of whom a target may be ranked."""
        known = [histories[user] for user in users.tolist()] if mask_history != "none" else []
        lengths = np.array([len(items) for items in known], dtype=np.int64)
        rows = np.repeat(np.arange(len(known)), lengths)
        items = np.concatenate([np.zeros(0, np.int64), *known])
        is_target = np.zeros(len(items), dtype=bool)
        if targets is not None and len(items):
            is_target = items == targets.cpu().numpy()[rows]
        if mask_history == "unseen-only":
            rows, items, is_target = rows[~is_target], items[~is_target], is_target[~is_target]
        return cls(rows, items, np.unique(rows[is_target]), users.device)

    def with_more(self, rows: CatalogueRows, items: CatalogueRows) -> Masked:
        """Return these with further items; they hide no target."""
        if not len(rows):
            return self
        own_rows, own_items = self._unsorted
        return Masked(
            np.concatenate([own_rows, rows]),
            np.concatenate([own_items, items]),
            self.hidden_targets.cpu().numpy(),
            self._rows.device,
        )

    def count_per_row(self, item_count: int) -> CatalogueRows:
        """Return how many items are masked for each row that has any, repeats counted once."""
        return np.unique(self.pairs(item_count)[0], return_counts=True)[1]

    def pairs(self, item_count: int) -> tuple[CatalogueRows, CatalogueRows]:
        """Return the row and the catalogue row of each masked item, repeats left out."""
        # Sorting few numbers is quicker than the hashing of `np.unique`.
        keys = np.sort(self._rows.cpu().numpy() * item_count + self._items)
        rows, items = np.divmod(keys[np.diff(keys, prepend=-1) > 0], item_count)
        return rows, items

    def apply(self, scores: Tensor, start: int) -> Tensor:
        """Set the masked items of a block to -inf in place.

        Parameters
        ----------
        scores
            Those of the block, ``(rows, items)``.
        start
            Catalogue row that the block begins at.
        """
        first, last = np.searchsorted(self._items, [start, start + scores.shape[1]])
        columns = torch.from_numpy(self._items[first:last] - start).to(scores.device)
        scores[self._rows[first:last], columns] = float("-inf")
        return scores
