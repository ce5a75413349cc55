r"""How well the sorted coordinates of two vectors of a node agree, against those of another node.

With h and v the vectors of a node, each sorted, and :math:`v'` that of another node,

.. math:: L = -\ln \frac{p}{p + n}, \quad p = e^{\cos(h, v) / t}, \quad n = e^{\cos(h, v') / t},

is :math:`\ln(1 + e^{(\cos(h, v') - \cos(h, v)) / t})`. Over all nodes it passes a dozen times over
tables of their size where autograd passes fifty times, so its gradient is written out.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor
from torch.autograd.function import once_differentiable

from crossan.train.layers.sorted_rows import sorted_rows

__all__ = ["rank_agreement"]

_LEAST_LENGTH = 1e-8
"""What stands for the length of a shorter vector, as in `torch.nn.functional.cosine_similarity`."""


def rank_agreement(
    first: Tensor, second: Tensor, permutation: Tensor, temperature: float
) -> Tensor:
    """Return the mean loss over all nodes.

    Parameters
    ----------
    first, second
        h and v as they are, ``(nodes, width)`` each.
    permutation
        Node whose v is the other one's, for each node, ``(nodes,)``.
    temperature
        t.
    """
    loss: Tensor = _RankAgreement.apply(first, second, permutation, temperature)  # type: ignore[no-untyped-call]
    return loss


class _RankAgreement(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch gives it no type
        first: Tensor,
        second: Tensor,
        permutation: Tensor,
        temperature: float,
    ) -> Tensor:
        h, h_columns = sorted_rows(first)
        v, v_columns = sorted_rows(second)
        other = v.index_select(0, permutation)
        (h_length, h_inverse), (v_length, v_inverse) = (_lengths(rows) for rows in (h, v))
        other_length = v_length[permutation]
        near = torch.linalg.vecdot(h, v) / (h_length * v_length)
        far = torch.linalg.vecdot(h, other) / (h_length * other_length)
        difference = (far - near) / temperature
        # Of the mean by the cosine to the other vector; by that to one's own it is the negative.
        slope = difference.sigmoid() / (temperature * len(h))
        towards = slope / (h_length * v_length)
        away = slope / (h_length * other_length)
        of_h = (
            h.mul((slope * (near - far) * h_inverse).unsqueeze(1))
            .addcmul_(v, towards.unsqueeze(1), value=-1.0)
            .addcmul_(other, away.unsqueeze(1))
        )
        # Whose other vector a node's is, the permutation read backwards.
        reader = permutation.argsort()
        # The table of the other vectors is not read again.
        readers_h = torch.index_select(h, 0, reader, out=other)
        shortening = (slope * near - (slope * far)[reader]) * v_inverse
        of_v = (
            v.mul_(shortening.unsqueeze(1))
            .addcmul_(h, towards.unsqueeze(1), value=-1.0)
            .addcmul_(readers_h, away[reader].unsqueeze(1))
        )
        ctx.save_for_backward(
            torch.empty_like(of_h).scatter_(1, h_columns, of_h),
            h.scatter_(1, v_columns, of_v),
        )
        return F.softplus(difference).mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:  # noqa: ANN401
        of_first, of_second = ctx.saved_tensors
        return of_first * gradient, of_second * gradient, None, None


def _lengths(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the length of each row, and what its direction's gradient is divided by, inverted.

    A shorter row than the least counts as one of that length, though its gradient is that of its
    own length, as in `torch.nn.functional.cosine_similarity`.
    """
    lengths = torch.linalg.vector_norm(rows, dim=1)
    counted = lengths.clamp(min=_LEAST_LENGTH)
    return counted, (counted * lengths).reciprocal_().masked_fill_(lengths == 0, 0.0)
