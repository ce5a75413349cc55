"""The edges of a graph of users and items, by the node that each leads into."""

from __future__ import annotations

import warnings
from functools import cached_property

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

__all__ = ["Edges"]


class Edges:
    """Edges by the row that they lead into.

    Parameters
    ----------
    begins
        Where the edges into each target begin, and the end, ``(targets + 1,)``.
    sources
        The row that each edge comes from, ``(edges,)``.
    source_count
        Rows that an edge may come from.
    """

    def __init__(self, begins: Tensor, sources: Tensor, source_count: int) -> None:
        self.begins, self.sources = begins, sources
        counts = begins.diff()
        numbers = torch.arange(len(counts), device=begins.device)
        self.targets = numbers.repeat_interleave(counts, output_size=len(sources))
        """The row that each edge leads into, ``(edges,)``."""
        # Stable, so that sums of gradients are taken in the same order each time.
        self.by_source = sources.argsort(stable=True)
        """Number of every edge, those of the first source first, ``(edges,)``."""
        self.source_begins = F.pad(
            torch.bincount(sources, minlength=source_count).cumsum(0), (1, 0)
        )
        self.targets_by_source = self.targets[self.by_source]

    @cached_property
    def pattern(self) -> Tensor:
        """The edges as a sparse matrix ``(targets, sources)``, for products at their places."""
        return _pattern(self.begins, self.sources, len(self.source_begins) - 1)

    @cached_property
    def first_half(self) -> Tensor:
        """The first half of the edges likewise, of `both_ways` those into users."""
        half = len(self.sources) // 2
        begins = self.begins.clamp(max=half)
        return _pattern(begins, self.sources[:half], len(self.source_begins) - 1)

    @classmethod
    def both_ways(cls, users: Tensor, items: Tensor, user_count: int, item_count: int) -> Edges:
        """Return edges from each user to their items and back, users being the first rows.

        Parameters
        ----------
        users, items
            The pairs, ``(pairs,)`` each. A pair that is there several times counts once.
        user_count, item_count
            Users and items in all, with those in no pair.
        """
        pairs = (users * item_count + items).unique()
        users, items = pairs // item_count, pairs % item_count + user_count
        by_item = items.argsort(stable=True)
        counts = torch.bincount(torch.cat([users, items]), minlength=user_count + item_count)
        begins = F.pad(counts.cumsum(0), (1, 0))
        return cls(begins, torch.cat([items, users[by_item]]), user_count + item_count)

    def into(self, rows: Tensor) -> tuple[Edges, Tensor]:
        """Return the edges into some rows, the first row's first, and their numbers here.

        Parameters
        ----------
        rows
            Targets, ``(any,)``.
        """
        first = self.begins[rows]
        counts = self.begins[rows + 1] - first
        begins = F.pad(counts.cumsum(0), (1, 0))
        total = int(begins[-1])
        shifts = (first - begins[:-1]).repeat_interleave(counts, output_size=total)
        numbers = shifts + torch.arange(total, device=rows.device)
        return Edges(begins, self.sources[numbers], len(self.source_begins) - 1), numbers

    def among_first(self, target_count: int) -> Edges:
        """Return the edges into the first rows, their sources counted from the last of these on.

        Of a graph of users and items those from items into users, whose sources are items.
        """
        begins = self.begins[: target_count + 1]
        sources = self.sources[: int(begins[-1])] - target_count
        return Edges(begins, sources, len(self.source_begins) - 1 - target_count)


def _pattern(begins: Tensor, sources: Tensor, source_count: int) -> Tensor:
    """Return edges as torch takes them for products at their places."""
    with warnings.catch_warnings():
        # Said once a process: that sparse tensors by rows are in beta.
        warnings.simplefilter("ignore")
        return torch.sparse_csr_tensor(
            begins,
            sources,
            torch.zeros(len(sources), device=sources.device),
            (len(begins) - 1, source_count),
            check_invariants=False,
        )
