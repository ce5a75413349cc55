"""A learned vector for every user and every item, one table that is never put together."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

__all__ = ["NodeTable"]


class NodeTable(nn.Module):
    """The vectors of users and of items, one after the other in memory.

    A graph's product takes both as one table. To join two tensors in each step, and to part the
    gradient, would move every number twice. These two are parts of one piece of memory, so joining
    them is a view. Where they are no longer, as on another device, they are put together.

    Parameters
    ----------
    user_count, item_count
        Users and items.
    width
        Width of a vector. All begin as Xavier's uniform numbers, for users and items each.
    """

    def __init__(self, user_count: int, item_count: int, width: int) -> None:
        super().__init__()
        whole = torch.empty(user_count + item_count, width)
        self.users = nn.Parameter(whole[:user_count])
        self.items = nn.Parameter(whole[user_count:])
        for table in (self.users, self.items):
            nn.init.xavier_uniform_(table)

    def forward(self) -> Tensor:
        """Return the vectors of users and then those of items, ``(users + items, width)``."""
        whole: Tensor = _Joined.apply(self.users, self.items)  # type: ignore[no-untyped-call]
        return whole


class _Joined(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, first: Tensor, second: Tensor) -> Tensor:  # noqa: ANN401 - torch gives it no type
        ctx.first_count = len(first)
        if not _are_adjacent(first, second):
            return torch.cat([first, second])
        shape = (len(first) + len(second), first.shape[1])
        return first.detach().as_strided(shape, first.stride(), first.storage_offset())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ANN401
        return gradient[: ctx.first_count], gradient[ctx.first_count :]


def _are_adjacent(first: Tensor, second: Tensor) -> bool:
    """Whether the second table begins in memory where the first one ends."""
    return (
        first.untyped_storage()._cdata == second.untyped_storage()._cdata
        and first.storage_offset() + first.numel() == second.storage_offset()
        and first.is_contiguous()
        and second.is_contiguous()
    )
