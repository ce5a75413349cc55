r"""A linear layer whose results are normalised over all rows of a table at once.

Mean and variance of :math:`W x + b` follow from those of x: the mean is :math:`W \mu + b`, and the
variances stand on the diagonal of :math:`W \Sigma W^T`. So the layer and its normalisation are one
linear layer, and rows of which nobody reads the result need none.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

__all__ = ["NormedLinear", "moments"]


class NormedLinear(nn.Module):
    """A linear layer and its batch normalisation (Ioffe and Szegedy, 2015).

    Parameters
    ----------
    width
        Width of rows and of results.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.norm = nn.BatchNorm1d(width)

    def folded(self, rows: Tensor, times: int = 1) -> tuple[Tensor, Tensor]:
        """Return weight and bias of the linear layer that both are for a table.

        In training they follow from the table, and the running statistics are moved towards its
        own. Otherwise they follow from the running statistics.

        Parameters
        ----------
        rows
            The table, ``(rows, width)``.
        times
            How often the table is normalised; the running statistics move as often.
        """
        weight, bias = self.linear.weight, self.linear.bias
        assert self.norm.running_mean is not None  # they are kept by default
        assert self.norm.running_var is not None
        mean, variance = self.norm.running_mean, self.norm.running_var
        if self.training:
            row_mean, covariance = moments(rows)
            mean = F.linear(row_mean, weight, bias)
            variance = torch.linalg.vecdot(weight @ covariance, weight)
            self._remember(mean.detach(), variance.detach() * len(rows) / (len(rows) - 1), times)
        scale = self.norm.weight / (variance + self.norm.eps).sqrt()
        return weight * scale.unsqueeze(1), (bias - mean) * scale + self.norm.bias

    def _remember(self, mean: Tensor, variance: Tensor, times: int) -> None:
        assert self.norm.running_mean is not None
        assert self.norm.running_var is not None
        assert self.norm.momentum is not None
        assert self.norm.num_batches_tracked is not None
        with torch.no_grad():
            for _ in range(times):
                self.norm.running_mean.lerp_(mean, self.norm.momentum)
                self.norm.running_var.lerp_(variance, self.norm.momentum)
                self.norm.num_batches_tracked += 1


def moments(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean of rows, ``(width,)``, and their covariance over all, ``(width, width)``."""
    mean, covariance = _Moments.apply(rows)  # type: ignore[no-untyped-call]
    return mean, covariance


class _Moments(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ANN401 - torch gives it no type
        mean = rows.mean(dim=0)
        # From the mean, as squares of large numbers would leave nothing of small differences.
        centred = rows - mean
        ctx.save_for_backward(centred)
        return mean, centred.T @ centred / len(rows)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_mean: Tensor, of_covariance: Tensor) -> Tensor:  # noqa: ANN401
        (centred,) = ctx.saved_tensors
        both_ways = (of_covariance + of_covariance.T) / len(centred)
        return torch.addmm(of_mean / len(centred), centred, both_ways)
