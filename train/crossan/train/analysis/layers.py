r"""How much each kept layer says of an item.

A layer whose hidden states are the same for all items has nothing to adapt.
That happens: below the top, the CLS position of BERT and ViT has seen little of
its item yet, and at the embedding layer nothing. The share of a layer's mean
square that is variance across items shows it; the rest is one vector that all
items have.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from crossan.train.features.moments import LayerMoments

__all__ = ["effective_rank", "layer_table"]


def effective_rank(states: npt.NDArray[Any]) -> float:
    r"""Return in how many directions hidden states differ between items.

    The effective rank of Roy and Vetterli (EUSIPCO 2007) of the centred matrix,
    :math:`\exp(-\sum_i p_i \log p_i)` with :math:`p_i = s_i / \sum_j s_j` of its
    singular values: d where all of d directions are alike, 1 where all items lie
    on a line, 0 where they are all the same. A sample of n items cannot show
    more than n - 1.

    Parameters
    ----------
    states
        Hidden states of one layer, ``(items, dim)``.
    """
    if not len(states):
        return 0.0
    centred = states.astype(np.float64)
    centred -= centred.mean(axis=0)
    gram = centred @ centred.T if len(centred) < centred.shape[1] else centred.T @ centred
    squared = np.linalg.eigvalsh(gram)
    # Eigenvalues below the rounding of the largest are noise, and negative as often as not.
    real = squared[squared > 1e-12 * max(float(squared[-1]), 0.0)]
    if not len(real) or squared[-1] <= 0:
        return 0.0
    shares = np.sqrt(real) / np.sqrt(real).sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def layer_table(
    modality: str, layers: Sequence[int], moments: LayerMoments, sample: npt.NDArray[Any]
) -> list[dict[str, Any]]:
    """Return a row for every kept layer of a modality, lowest first.

    Parameters
    ----------
    modality, layers
        Its name, and the numbers of its layers.
    moments
        Those of all items that have it.
    sample
        Hidden states of some of them, ``(items, layer, dim)``, for the effective
        rank, which no scaling of a whole layer changes.

    Returns
    -------
    list
        Dicts of ``modality``, ``layer``, ``items``; ``variance``, the mean over
        dimensions of the variance across items; ``mean_square``; ``share``, the
        first over the second; ``is_flat``, whether nothing is left but rounding;
        ``effective_rank`` and ``sampled_items``.
    """
    return [
        {
            "modality": modality,
            "layer": layer,
            "items": moments.items,
            "variance": float(moments.variance[number]),
            "mean_square": float(moments.mean_square[number]),
            "share": float(moments.share[number]),
            "is_flat": bool(moments.is_flat[number]),
            "effective_rank": effective_rank(sample[:, number]),
            "sampled_items": len(sample),
        }
        for number, layer in enumerate(layers)
    ]
