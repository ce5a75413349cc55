"""The gates' weights beside those that they began with (Fig. 4 of the paper)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["gate_table", "inter_gate_table"]


def gate_table(
    weights: npt.NDArray[np.float64], modalities: Sequence[str], layers: Sequence[Sequence[int]]
) -> list[dict[str, Any]]:
    """Return a row for every gate, modality by modality, lowest layer first.

    A row has the ``modality`` and ``layer`` of the gate; ``weights`` by input,
    which are the previous outputs of the towers, under their modality, and the
    ``hidden state``; the ``even`` share that each input has in a new gate; and
    by input the ``deviation`` from it. Inputs that the gates of a model never
    read are left out. At the lowest layer there are no previous outputs: what
    weighs zeros there is lost.

    Parameters
    ----------
    weights
        For an item that has every modality, ``(modality, layer, modality + 1)``;
        the last weight is that of the hidden state.
    modalities
        Their names, in the order of the weights.
    layers
        Numbers of the kept layers of each modality.
    """
    inputs = [*modalities, "hidden state"]
    rows = []
    for modality, numbers, gates in zip(modalities, layers, weights, strict=True):
        # A weight may be rounded to 0 at some layer; an input that does not exist is 0 at all.
        is_read = (gates != 0).any(axis=0)
        names = [name for name, is_one in zip(inputs, is_read, strict=True) if is_one]
        even = 1 / max(len(names), 1)
        for layer, gate in zip(numbers, gates[:, is_read].tolist(), strict=True):
            by_input = dict(zip(names, gate, strict=True))
            rows.append(
                {
                    "modality": modality,
                    "layer": layer,
                    "weights": by_input,
                    "even": even,
                    "deviation": {name: weight - even for name, weight in by_input.items()},
                }
            )
    return rows


def inter_gate_table(
    weights: npt.NDArray[np.float64], modalities: Sequence[str], layers: Sequence[Sequence[int]]
) -> list[dict[str, Any]]:
    """Return a row for every layer of a tower between the modalities, lowest first.

    Such a tower, which IISAN has, divides the hidden states of all modalities.
    A row has the number of the layer by modality (``layers``), ``weights`` and
    ``deviation`` by modality, and the ``even`` share.

    Parameters
    ----------
    weights
        For an item that has every modality, ``(layer, modality)``.
    modalities, layers
        As for `gate_table`.
    """
    even = 1 / max(len(modalities), 1)
    return [
        {
            "layers": dict(zip(modalities, numbers, strict=True)),
            "weights": dict(zip(modalities, gate, strict=True)),
            "even": even,
            "deviation": {
                name: weight - even for name, weight in zip(modalities, gate, strict=True)
            },
        }
        for numbers, gate in zip(zip(*layers, strict=True), weights.tolist(), strict=True)
    ]
