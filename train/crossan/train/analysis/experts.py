"""Which modalities a fusion uses, for which items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["expert_use", "missing_names", "scattered"]

Names = npt.NDArray[np.str_]
"""The part that each item belongs to, ``(items,)``."""


def scattered(
    chosen: npt.NDArray[np.int64], weights: npt.NDArray[np.float32], modality_count: int
) -> npt.NDArray[np.float32]:
    """Return the weight of every modality, ``(items, modality)``, 0 for one that is not chosen.

    Parameters
    ----------
    chosen, weights
        Chosen modalities and their weights, both ``(items, top_k)``. A slot
        that no modality fills weighs 0.
    modality_count
        Modalities in use.
    """
    by_modality = np.zeros((len(chosen), modality_count), np.float32)
    # Added, not assigned: an empty slot names some modality, which may be chosen in another slot.
    np.add.at(by_modality, (np.arange(len(chosen))[:, None], chosen), weights)
    return by_modality


def missing_names(presence: npt.NDArray[np.bool_], modalities: Sequence[str]) -> Names:
    """Return what each item lacks, ``nothing``, ``image`` or ``image, audio``, ``(items,)``."""
    patterns, which = np.unique(presence, axis=0, return_inverse=True)
    names = [
        ", ".join(name for name, is_there in zip(modalities, pattern, strict=True) if not is_there)
        or "nothing"
        for pattern in patterns
    ]
    named: Names = np.array(names, dtype=str)[which.reshape(-1)]
    return named


def expert_use(
    weights: npt.NDArray[np.float32],
    presence: npt.NDArray[np.bool_],
    modalities: Sequence[str],
    slices: Mapping[str, Names],
) -> dict[str, dict[str, Any]]:
    """Return how the items of every slice use the modalities.

    The result is ``{slice: {part: {"items", "modalities": {modality: {"share",
    "weight", "weight_where_chosen"}}}}}``: the share of the part's items that
    choose the modality; its mean weight over all of them, which sums to 1 over
    the modalities; its mean weight over those that choose it, None where none
    does. Parts are in the order in which items name them.

    Parameters
    ----------
    weights
        Of every item, ``(items, modality)``, 0 for a modality that is not chosen.
    presence
        Which modalities each item has, ``(items, modality)``. An item without
        any is left out.
    modalities
        Their names.
    slices
        The part that each item belongs to, by the name of the slice.
    """
    has_any = presence.any(axis=1)
    return {
        name: {
            str(part): _use(weights[has_any & (parts == part)], modalities)
            for part in dict.fromkeys(parts[has_any].tolist())
        }
        for name, parts in slices.items()
    }


def _use(weights: npt.NDArray[np.float32], modalities: Sequence[str]) -> dict[str, Any]:
    is_chosen = weights > 0
    by_modality = {}
    for m, modality in enumerate(modalities):
        total, count = float(weights[:, m].sum(dtype=np.float64)), int(is_chosen[:, m].sum())
        by_modality[modality] = {
            "share": count / len(weights),
            "weight": total / len(weights),
            "weight_where_chosen": total / count if count else None,
        }
    return {"items": len(weights), "modalities": by_modality}
