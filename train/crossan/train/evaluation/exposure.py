r"""Which items the recommendations show: how much of the catalogue, how evenly, and how popular ones.

With :math:`L_u` the list shown to user u, :math:`H_u` the history it was made
from, :math:`\phi(i)` the training count of item i, :math:`e_i` the number of
lists that hold item i, and the N items numbered so that :math:`e_1 \le \dots \le e_N`,

.. math::
   \text{coverage} = \frac{|\bigcup_u L_u|}{N}, \qquad
   \text{gini} = \frac{\sum_{i=1}^{N} (2i - N - 1)\, e_i}{N \sum_i e_i},

.. math::
   \text{mean popularity} = \frac{1}{|U|} \sum_u \frac{1}{|L_u|} \sum_{i \in L_u} \phi(i), \qquad
   \text{popularity lift} = \frac{\text{mean popularity}}{\text{history mean popularity}} - 1,

the history's mean being the same formula with :math:`H_u` for :math:`L_u`.
A Gini of 0 shows every item equally often, one near 1 a few items to everybody;
a lift of 0 shows what is as popular as what the users chose by themselves.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["exposure_figures", "gini"]

Rows = npt.NDArray[np.int64]


def gini(exposures: Rows) -> float:
    """Return the Gini coefficient of non-negative counts, 0 where all are zero."""
    ordered, count, total = np.sort(exposures), len(exposures), int(exposures.sum())
    weights = 2 * np.arange(1, count + 1) - count - 1
    return float(weights @ ordered) / (count * total) if total else 0.0


def exposure_figures(lists: Rows, histories: Sequence[Rows], counts: Rows) -> dict[str, float]:
    """Return ``top``, ``coverage``, ``gini``, ``mean_popularity``, ``history_mean_popularity`` and ``popularity_lift``.

    Parameters
    ----------
    lists
        Catalogue rows shown to each user, ``(users, top)``; -1 where there were not enough. A user who is shown
        nothing counts in no mean.
    histories
        Catalogue rows of the items each list was made from, and leaves out.
    counts
        Training count of each catalogue row, ``(items,)``.
    """
    exposures = np.bincount(lists[lists >= 0], minlength=len(counts))
    shown, chosen = (
        _mean_popularity(rows, counts) for rows in ([row[row >= 0] for row in lists], histories)
    )
    return {
        "top": lists.shape[1],
        "coverage": np.count_nonzero(exposures) / max(len(counts), 1),
        "gini": gini(exposures),
        "mean_popularity": shown,
        "history_mean_popularity": chosen,
        "popularity_lift": shown / chosen - 1 if chosen else 0.0,
    }


def _mean_popularity(rows: Sequence[Rows], counts: Rows) -> float:
    means = [float(counts[items].mean()) for items in rows if len(items)]
    return float(np.mean(means)) if means else 0.0
