"""Several ranks of which only this one is there, for what is predicted of their memory."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from crossan.train.ranks.ranks import Ranks

__all__ = ["ranks_on_paper"]


class _RanksOnPaper(Ranks):
    """One of several ranks, which waits for none of the others."""

    def add_up(self, tensor: Tensor) -> None:
        """Leave a tensor as it is."""

    def begin_to_add_up(self, tensor: Tensor) -> Callable[[], None]:
        """Leave a tensor as it is, for which nobody has to wait."""
        del tensor
        return lambda: None

    def gather(self, rows: Tensor, total: int) -> Tensor:
        """Return room for the rows of all ranks."""
        return rows.new_empty((total, *rows.shape[1:]))


def ranks_on_paper(ranks: Ranks) -> Ranks:
    """Return ranks of the same number and count that never communicate."""
    return _RanksOnPaper(ranks.number, ranks.count) if ranks.count > 1 else ranks
