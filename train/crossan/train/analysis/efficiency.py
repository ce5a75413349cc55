r"""What training costs, in one number: TPME of the IISAN paper.

IISAN (SIGIR 2024, arXiv 2404.02059) weighs training time, trainable parameters
and GPU memory of a method, each relative to the other methods of one table,

.. math:: TPME_i = \alpha_1 T_i + \alpha_2 P_i + \alpha_3 M_i, \qquad
   T_i = \frac{t_i - \min_j t_j}{\max_j t_j - \min_j t_j},

and likewise P and M, with :math:`\alpha_1 = \alpha_3 = 0.45` and
:math:`\alpha_2 = 0.1` (its README says so: "training speed and memory
efficiency" count in practice). That each is scaled between the least and the
most of its column is our reading of the paper, whose formula no README repeats.
The cheapest row in everything has 0, the dearest 1; lower is better. A row has no TPME of its own: another row in the
table may change it, and rows of different machines compare nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass

__all__ = ["TPME_WEIGHTS", "Cost", "savings", "tpme"]


@dataclass(frozen=True, slots=True)
class Cost:
    """What training one model costs."""

    seconds_per_epoch: float
    trainable_parameters: float
    peak_memory_bytes: float
    """Of the accelerator, or of the process where the CPU computes."""


TPME_WEIGHTS = Cost(0.45, 0.1, 0.45)
"""The weights of the IISAN paper."""


def tpme(costs: Sequence[Cost], weights: Cost = TPME_WEIGHTS) -> list[float]:
    """Return the TPME of every row of a table, relative to all of its rows.

    Where all rows cost the same of something, it adds nothing to any.

    Parameters
    ----------
    costs
        The rows, in any one unit for each of the three.
    weights
        What time, parameters and memory count; they sum to 1.
    """
    totals = [0.0] * len(costs)
    columns = zip(*map(astuple, costs), strict=True)
    for weight, column in zip(astuple(weights), columns, strict=False):
        least, most = min(column), max(column)
        for row, value in enumerate(column):
            totals[row] += weight * (value - least) / (most - least) if most > least else 0.0
    return totals


def savings(cost: Cost, over: Cost) -> Cost:
    """Return the shares of another model's cost that a model saves, as Table 4 shows them.

    They are 1 - cost / over, below 0 where it costs more. What the other has
    for nothing cannot be saved: 0.
    """
    pairs = zip(astuple(cost), astuple(over), strict=True)
    return Cost(*(1 - ours / theirs if theirs else 0.0 for ours, theirs in pairs))
