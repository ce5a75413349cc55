r"""Which items the recommendations show.

The figures tell how much of the catalogue is shown, how evenly, and how popular
it is.
With :math:`L_u` the list shown to user u, :math:`H_u` the history it was made
from, :math:`\phi(i)` the training count of item i, :math:`e_i` the number of
lists that hold item i, and the N items numbered so that :math:`e_1 \le \dots \le e_N`,

.. math::
   \text{coverage} = \frac{|\bigcup_u L_u|}{N}, \qquad
   \text{gini} = \frac{\sum_{i=1}^{N} (2i - N - 1)\, e_i}{N \sum_i e_i},

.. math::
   \text{mean popularity} = \frac{1}{|U|} \sum_u \frac{1}{|L_u|} \sum_{i \in L_u} \phi(i),

.. math::
   \text{popularity lift} = \frac{\text{mean popularity}}{\text{history mean popularity}} - 1,

the history's mean being the same formula with :math:`H_u` for :math:`L_u`.
A Gini of 0 means that every item is shown equally often, one near 1 that
everybody is shown the same few. A lift of 0 means that what is shown is as
popular as what the users chose by themselves.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from crossan.train.sequences.flat import flat
from crossan.train.sequences.splits import CatalogueRows

__all__ = ["exposure_figures", "gini"]


def gini(exposures: CatalogueRows) -> float:
    """Return the Gini coefficient of non-negative counts, 0 where all are zero."""
    item_count, total = len(exposures), int(exposures.sum())
    if not total:
        return 0.0
    # Whole numbers to the end, so that the order of the sum does not matter.
    weights = 2 * np.arange(1, item_count + 1) - item_count - 1
    return float(weights @ np.sort(exposures)) / (item_count * total)


def exposure_figures(
    lists: CatalogueRows, histories: Sequence[CatalogueRows], counts: CatalogueRows
) -> dict[str, float]:
    """Return the figures of the module's docstring, for ``result.json``.

    Parameters
    ----------
    lists
        Catalogue rows shown to each user, ``(users, top)``, with -1 where there
        were not enough. A user who is shown nothing counts in no mean.
    histories
        Catalogue rows of the items that each list was made from and leaves out.
    counts
        Training count of each catalogue row, ``(items,)``.

    Returns
    -------
    dict
        ``top``, ``coverage``, ``gini``, ``mean_popularity``,
        ``history_mean_popularity`` and ``popularity_lift``.
    """
    exposures = np.bincount(lists[lists >= 0], minlength=len(counts))
    shown = _mean_popularity([row[row >= 0] for row in lists], counts)
    chosen = _mean_popularity(histories, counts)
    return {
        "top": lists.shape[1],
        "coverage": np.count_nonzero(exposures) / max(len(counts), 1),
        "gini": gini(exposures),
        "mean_popularity": shown,
        "history_mean_popularity": chosen,
        "popularity_lift": shown / chosen - 1 if chosen else 0.0,
    }


def _mean_popularity(rows: Sequence[CatalogueRows], counts: CatalogueRows) -> float:
    # A mean of the users' means: a user with a long history counts as much as any other.
    sequences = flat(rows)
    lengths = np.bincount(sequences.users, minlength=len(rows))
    # Sums of whole numbers, so that in doubles they do not round.
    sums = np.bincount(sequences.users, counts[sequences.items], minlength=len(rows))
    has_any = lengths > 0
    return float((sums[has_any] / lengths[has_any]).mean()) if has_any.any() else 0.0
