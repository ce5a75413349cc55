"""Dropout whose masks are random bytes.

On a CPU torch draws one random number for each element, which takes longer than
the matmul around it. One draw of 64 bits serves eight elements here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

__all__ = ["HIGHEST_BYTE_RATE", "ByteDropout", "draw_kept", "drop"]

_BYTE_VALUES = 256
HIGHEST_BYTE_RATE = 255 / _BYTE_VALUES
"""Highest rate that bytes are compared for; beyond it the threshold would be no byte."""


class ByteDropout(nn.Module):
    """Zero elements at random while training, and scale the others by ``1 / (1 - rate)``.

    Every element is dropped with the probability that was asked for, not with the
    nearest multiple of 1/256 (see `draw_kept`). The random numbers are those of
    torch's generator of the device, so a seed or a restored state repeats them. On
    an accelerator, and for rates beyond `HIGHEST_BYTE_RATE`, it is torch's own
    dropout, whose kernel draws and scales in one go. In evaluation it returns what
    it is given.

    Parameters
    ----------
    rate
        Probability of an element to be dropped, at least 0 and below 1.

    Shapes
    ------
    ``values``: ``(any, ...)``, at least one axis; result alike.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        if not 0.0 <= rate < 1.0:
            raise ValueError(f"expected a dropout rate of at least 0 and below 1, got {rate}")
        self.rate = rate

    def forward(self, values: Tensor) -> Tensor:
        """Return the values with some of them dropped."""
        if not self.training or not self.rate:
            return values
        if values.device.type != "cpu" or self.rate > HIGHEST_BYTE_RATE:
            return F.dropout(values, self.rate)
        dropped: Tensor = _ByteDropout.apply(values, self.rate)  # type: ignore[no-untyped-call]
        return dropped

    def extra_repr(self) -> str:
        """Return the rate, for the printed module."""
        return f"rate={self.rate}"


def draw_kept(shape: Sequence[int], rate: float) -> Tensor:
    r"""Draw which elements are kept, int8 ones and zeros on the CPU.

    A byte below a threshold is dropped. With :math:`k = 256 \cdot rate` the threshold
    of a row, an entry of the first axis, is :math:`\lfloor k \rfloor + 1` with
    probability :math:`k - \lfloor k \rfloor`, otherwise :math:`\lfloor k \rfloor`. So
    an element is dropped with probability ``rate`` exactly. Two elements of one row
    share their threshold, which makes them dependent: their covariance is at most
    2\ :sup:`-18`, against the variance 0.09 of one element at a rate of 0.1.

    Parameters
    ----------
    shape
        At least one axis.
    rate
        From 0 to `HIGHEST_BYTE_RATE`.
    """
    count, rows = math.prod(shape), shape[0]
    # The whole range of 64 bits: by default `random_` leaves the sign out.
    draws = torch.empty(-(-count // 8), dtype=torch.int64).random_(-(2**63), None)
    kept = draws.view(torch.int8)[:count].view(rows, count // max(rows, 1))
    lower = int(rate * _BYTE_VALUES)
    is_higher = torch.rand(rows, 1) < rate * _BYTE_VALUES - lower
    # As signed bytes, of which -128 is the lowest. In place, because that alone is vectorised.
    return kept.ge_(is_higher.to(torch.int8).add_(lower - 128)).view(shape)


def drop(values: Tensor, kept: Tensor, rate: float) -> Tensor:
    """Return values of which those not kept are zero and the others scaled, a new tensor.

    ``kept`` is what `draw_kept` drew for ``rate``, of the shape of ``values``. The gradient of
    the values is that of the result, dropped in the same way.
    """
    return kept.to(values.dtype).mul_(values).mul_(1.0 / (1.0 - rate))


class _ByteDropout(torch.autograd.Function):
    """The arithmetic of `ByteDropout`, which keeps one byte an element."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch gives it no type
        values: Tensor,
        rate: float,
    ) -> Tensor:
        kept = draw_kept(values.shape, rate)
        ctx.save_for_backward(kept)
        ctx.rate = rate
        return drop(values, kept, rate)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        (kept,) = ctx.saved_tensors
        return drop(grad, kept, ctx.rate), None
