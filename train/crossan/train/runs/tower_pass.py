"""One pass over all items of a run, for whatever is to be said of its towers and layers.

A block of items is in memory at a time, and of every item no more than the
weights that a fusion gives its modalities: a million items take 20 MB.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from crossan.common.console import progress
from crossan.train.analysis.experts import scattered
from crossan.train.analysis.mutual_information import Information, PairSums
from crossan.train.evaluation.encoding import ITEMS_PER_BLOCK
from crossan.train.features import HiddenStates
from crossan.train.features.moments import LayerMoments, MomentSums
from crossan.train.features.prefetch import prepared_ahead
from crossan.train.layers.momef import Momef
from crossan.train.models.item_encoder import ItemEncoder
from crossan.train.models.sequence_model import SequenceModel
from crossan.train.runs.opening import OpenedRun
from crossan.train.settings.tower import Tower

__all__ = ["Passed", "encoder_of", "pass_over_items", "weighs_modalities"]


@dataclass(frozen=True, slots=True)
class Passed:
    """What one pass over all items has found."""

    presence: npt.NDArray[np.bool_]
    """``(items, modality)``."""
    moments: dict[Tower, LayerMoments]
    """Of the layers as they are stored, before they are standardised."""
    information: dict[tuple[Tower, Tower], Information]
    """Of the outputs of every two modalities' towers; empty for a model without."""
    weights: npt.NDArray[np.float32] | None
    """What the fusion weighs the modalities of each item by, ``(items, modality)``, 0 for one that
    it does not choose. None for a fusion that does not say."""


def encoder_of(model: nn.Module) -> ItemEncoder | None:
    """Return what makes item vectors of hidden states by towers, None for a model without."""
    encoder = model.item_encoder if isinstance(model, SequenceModel) else None
    return encoder if isinstance(encoder, ItemEncoder) else None


def weighs_modalities(fusion: nn.Module) -> bool:
    """Whether a fusion says how much it takes of each modality of an item."""
    return isinstance(fusion, Momef) or callable(getattr(fusion, "weights", None))


@torch.inference_mode()
def pass_over_items(run: OpenedRun) -> Passed:
    """Read all items once, and run the towers over them where the model has some."""
    features, encoder = run.features, encoder_of(run.model)
    run.model.eval()
    sums = _Sums(run, encoder)
    item_count = len(features.presence)
    blocks = torch.arange(item_count).split(ITEMS_PER_BLOCK)
    with (
        progress("analyse items", item_count, "items") as shown,
        prepared_ahead(blocks, features.fetch) as ahead,
    ):
        for block, fetched in zip(blocks, ahead, strict=True):
            hidden, presence = fetched.gather(block)
            sums.add(int(block[0]), hidden, presence)
            shown.advance(len(block))
    return sums.passed(run)


class _Sums:
    """What the pass adds up."""

    def __init__(self, run: OpenedRun, encoder: ItemEncoder | None) -> None:
        features = run.features
        if not isinstance(features, HiddenStates):
            raise TypeError(f"expected hidden states, got {type(features).__name__}")
        self._encoder = encoder
        self._presence = features.presence.cpu().numpy()
        self._modalities = features.modalities
        self._moments = [MomentSums(features.layer_count, dim) for dim in features.dims]
        self._pairs: dict[tuple[int, int], PairSums] = {}
        self._weights: npt.NDArray[np.float32] | None = None

    def add(self, start: int, hidden: list[Tensor], presence: Tensor) -> None:
        """Add the items from catalogue row ``start`` on."""
        rows = slice(start, start + len(presence))
        for m, states in enumerate(hidden):
            is_here = self._presence[rows, m]
            self._moments[m].add(states.cpu().numpy()[is_here])
        if self._encoder is None:
            return
        outputs = self._encoder.towers(hidden, presence)
        # IISAN has a tower more, between the modalities, which comes last.
        self._add_pairs(rows, outputs[:, : len(hidden)].float().cpu().numpy())
        if weighs_modalities(self._encoder.fusion):
            self._keep_weights(rows, _weights_of(self._encoder.fusion, outputs, presence))

    def passed(self, run: OpenedRun) -> Passed:
        """Return what the pass has found."""
        moments = {}
        for modality, sums in zip(self._modalities, self._moments, strict=True):
            moments[modality] = sums.moments()
            if run.standardisers is not None:
                moments[modality] = run.standardisers[modality].undo(moments[modality])
        information = {
            (self._modalities[one], self._modalities[other]): pair.information()
            for (one, other), pair in self._pairs.items()
        }
        return Passed(self._presence, moments, information, self._weights)

    def _add_pairs(self, rows: slice, outputs: npt.NDArray[Any]) -> None:
        for pair in combinations(range(outputs.shape[1]), 2):
            sums = self._pairs.setdefault(pair, PairSums(outputs.shape[2]))
            has_both = self._presence[rows][:, list(pair)].all(axis=1)
            sums.add(outputs[has_both, pair[0]], outputs[has_both, pair[1]])

    def _keep_weights(self, rows: slice, weights: npt.NDArray[np.float32]) -> None:
        if self._weights is None:
            self._weights = np.zeros((len(self._presence), weights.shape[1]), np.float32)
        self._weights[rows] = weights


def _weights_of(fusion: nn.Module, outputs: Tensor, presence: Tensor) -> npt.NDArray[np.float32]:
    """Return the weight of every modality, ``(items, modality)``, 0 for one that is not chosen."""
    if isinstance(fusion, Momef):
        chosen, weights = fusion.route(outputs, presence)
        return scattered(chosen.cpu().numpy(), weights.float().cpu().numpy(), presence.shape[1])
    by_modality: Tensor = fusion.weights(outputs, presence)  # type: ignore[operator]
    # An item without any modality has no weights, whatever a softmax makes of it.
    readable = by_modality.float().masked_fill(~presence, 0.0).nan_to_num(0.0)
    weights_read: npt.NDArray[np.float32] = readable.cpu().numpy()
    return weights_read
