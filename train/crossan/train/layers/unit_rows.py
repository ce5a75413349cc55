"""Tables whose rows are divided by their lengths."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["unit_rows"]

_SMALLEST_LENGTH = 1e-12
"""What a shorter vector is divided by, as `torch.nn.functional.normalize` does."""


def unit_rows(*tables: Tensor) -> Tensor:
    """Return tables one below the other, each row divided by its length.

    Parameters
    ----------
    *tables
        ``(rows, width)`` each, of one width.
    """
    scaled: Tensor = _UnitRows.apply(*tables)  # type: ignore[no-untyped-call]
    return scaled


class _UnitRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *tables: Tensor) -> Tensor:  # noqa: ANN401 - torch gives it no type
        ctx.counts = [len(table) for table in tables]
        lengths = torch.cat([torch.linalg.vector_norm(table, dim=1) for table in tables])
        scaled = tables[0].new_empty(sum(ctx.counts), tables[0].shape[1])
        inverses = lengths.clamp_(min=_SMALLEST_LENGTH).reciprocal_().unsqueeze(1)
        for table, part, inverse in zip(
            tables, scaled.split(ctx.counts), inverses.split(ctx.counts), strict=True
        ):
            torch.mul(table, inverse, out=part)
        ctx.save_for_backward(scaled, inverses)
        return scaled

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:  # noqa: ANN401
        scaled, inverses = ctx.saved_tensors
        # What points along a row changes only its length.
        along = torch.linalg.vecdot(gradient, scaled).unsqueeze(1)
        of_rows = torch.addcmul(gradient, scaled, along, value=-1).mul_(inverses)
        gradients: tuple[Tensor, ...] = of_rows.split(ctx.counts)
        return gradients
