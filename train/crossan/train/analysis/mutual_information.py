r"""How much the outputs of two towers say of each other (Table 1 of the paper).

The paper gives two numbers, 0.0129 for INDSAN and 0.2001 for CROSSAN, and not
how they were estimated, so ours are compared with each other only. We take the
information of the Gaussian with the covariance of the outputs,

.. math:: I = \tfrac12 \log \frac{\det \Sigma_x \det \Sigma_y}{\det \Sigma}
   = -\tfrac12 \sum_i \log (1 - \rho_i^2)

in nats, with :math:`\rho_i` the canonical correlations. It is exact for jointly
Gaussian outputs; of others it counts what is linear in them and is blind to
the rest. Any invertible linear map of one side, scaling among them, leaves it
as it is.

A sample covariance overstates it, by about :math:`d_x d_y / 2n`. For a Gaussian
the excess is known exactly, as log det of a Wishart matrix has the mean
:math:`\log\det\Sigma + \sum_{i=1}^{d} \psi((\nu - i + 1) / 2) + d \log (2 / \nu)`,
:math:`\nu = n - 1` (Goodman 1963; Misra, Singh and Demchuk 2005); it is
subtracted, so independent outputs give 0 on average, and somewhat below it as
often as above. Their estimates scatter by :math:`\sqrt{d_x d_y / 2} / n`, which
is given beside the value (of :math:`2 n I`, asymptotically chi-squared with
:math:`d_x d_y` degrees of freedom).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

__all__ = ["Information", "PairSums"]

_NO_VARIANCE = 1e-10
"""Share of the largest principal variance below which a direction is rounding."""
_CLOSEST = 1e-6
"""Least 1 - rho^2 of a pair of directions, as float32 outputs tell nothing finer: 6.9 nats."""

_Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Information:
    """An estimate of the mutual information of two towers' outputs."""

    items: int
    """Items that have both."""
    nats: float | None
    """The estimate with the bias taken off; None for too few items."""
    bias: float | None
    """What was taken off."""
    noise: float | None
    """Standard deviation of the estimate where the outputs are independent, in nats."""
    dimensions: tuple[int, int]
    """Directions in which each tower's outputs differ between items."""
    is_capped: bool
    """Whether a direction of one is given by the other but for rounding.

    The information is then larger than what can be said.
    """


class PairSums:
    """Add up the outputs of two towers, block by block, in float64.

    Parameters
    ----------
    width
        Width of the outputs of each of the two.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        self._items = 0
        self._mean = np.zeros(2 * width)
        self._products = np.zeros((2 * width, 2 * width))

    def add(self, one: npt.NDArray[Any], other: npt.NDArray[Any]) -> None:
        """Add the outputs of items that have both modalities, ``(items, width)`` each."""
        added = len(one)
        if not added:
            return
        block = np.concatenate([one, other], axis=1).astype(np.float64)
        mean = block.sum(axis=0) / added
        block -= mean
        # Merged as in `crossan.train.features.moments`: nothing cancels beside a large mean.
        step, total = mean - self._mean, self._items + added
        self._mean += step * (added / total)
        self._products += block.T @ block
        self._products += np.outer(step, step) * (self._items * added / total)
        self._items = total

    def information(self) -> Information:
        """Return the mutual information of the two, as the module describes it."""
        width = self._width
        variance = np.diag(self._products)
        # Scaled to correlations first, so that the scale of a dimension decides nothing.
        scale = np.divide(1.0, np.sqrt(variance), out=np.zeros(2 * width), where=variance > 0)
        correlations = self._products * scale[:, None] * scale
        one, other = slice(width), slice(width, None)
        whiten_one = _whitening(correlations[one, one])
        whiten_other = _whitening(correlations[other, other])
        dimensions = whiten_one.shape[1], whiten_other.shape[1]
        if self._items <= sum(dimensions) + 1:
            return Information(self._items, None, None, None, dimensions, is_capped=False)
        between = whiten_one.T @ correlations[one, other] @ whiten_other
        canonical = np.linalg.svd(between, compute_uv=False)
        unexplained = 1 - np.square(canonical)
        nats = float(-0.5 * np.log(np.maximum(unexplained, _CLOSEST)).sum())
        bias = _bias(self._items, *dimensions)
        return Information(
            self._items,
            nats - bias,
            bias,
            float(np.sqrt(dimensions[0] * dimensions[1] / 2)) / self._items,
            dimensions,
            is_capped=bool((unexplained < _CLOSEST).any()),
        )


def _whitening(correlations: _Matrix) -> _Matrix:
    """Return the matrix whose columns bring outputs to uncorrelated unit variance.

    There are as many columns, ``(width, directions)``, as there are directions
    with a variance of their own.
    """
    variances, directions = np.linalg.eigh(correlations)
    is_real = variances > _NO_VARIANCE * max(variances.max(initial=0.0), 0.0)
    is_real &= variances > 0
    whitening: _Matrix = directions[:, is_real] / np.sqrt(variances[is_real])
    return whitening


def _bias(items: int, one: int, other: int) -> float:
    """Return what the estimate of a Gaussian's information exceeds it by on average, in nats."""

    def digammas(count: int) -> float:
        arguments = (items - 1 - torch.arange(count, dtype=torch.float64)) / 2
        return float(torch.special.digamma(arguments).sum())

    return 0.5 * (digammas(one) + digammas(other) - digammas(one + other))
