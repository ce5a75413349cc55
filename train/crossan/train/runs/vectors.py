"""Item vectors and user vectors of a run, for neighbours, export and pages."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from crossan.cache_schema.errors import UsageError
from crossan.train.evaluation.encoding import ITEMS_PER_BLOCK, encode_items
from crossan.train.evaluation.user_vectors import encode_users
from crossan.train.layers.momef import Momef
from crossan.train.models.recommender import TableModel
from crossan.train.models.sequence_model import SequenceModel
from crossan.train.runs.opening import OpenedRun
from crossan.train.sequences.splits import pad_left
from crossan.train.settings import HybridOfRunsSettings

__all__ = ["expert_weights", "item_vectors", "require_sequence_model", "user_vectors"]


@torch.no_grad()
def item_vectors(opened: OpenedRun) -> Tensor:
    """Return the vectors of the whole catalogue, ``(items, width)`` float32.

    They are on the device of the run, a row for each of ``opened.kept.item_ids``.
    The score of an item is the product of its vector and a user's.

    Raises
    ------
    UsageError
        The model ranks by counts and has no vectors, or is a hybrid of runs, whose scores are no
        products of two.
    """
    if isinstance(opened.model, TableModel):
        return opened.model.propagate()[1]
    return encode_items(require_sequence_model(opened), opened.features)


def user_vectors(
    opened: OpenedRun, histories: Sequence[np.ndarray], *, items: Tensor | None = None
) -> Tensor:
    """Return a vector for each history, ``(users, width)`` float32, on the device of the run.

    A model reads the last ``data.input_length`` items of a history.

    Parameters
    ----------
    opened
        The run.
    histories
        Catalogue rows of each user's items, oldest first.
    items
        What `item_vectors` gives of the run. Without it they are computed anew.

    Raises
    ------
    UsageError
        The model ranks by counts and has no vectors, or a history is empty or
        names a row that is none of the catalogue's.
    """
    model = require_sequence_model(opened)
    for number, history in enumerate(histories):
        _require_rows(number, history, len(opened.kept.item_ids))
    if items is None:
        items = encode_items(model, opened.features)
    if not len(histories):
        return items.new_empty((0, items.shape[1]))
    return encode_users(model, items, pad_left(histories, opened.settings.data.input_length))


def require_sequence_model(opened: OpenedRun) -> SequenceModel:
    """Return the model of a run, which must have vectors of items and of histories.

    Raises
    ------
    UsageError
        It counts, has a vector for every user and none of a history, or is a hybrid of runs.
    """
    if isinstance(opened.model, SequenceModel):
        return opened.model
    path = opened.folder.path
    if isinstance(opened.settings.model, HybridOfRunsSettings):
        # Its item vectors are parts that count by a user's own weights: their cosines say nothing.
        of = ", ".join(shlex.quote(base.run) for base in opened.settings.model.of)
        raise UsageError(
            f"{path}: expected a run whose scores are products of an item's vector and a history's,"
            " got a hybrid of runs, which adds a Markov chain and a bonus of cold items to them",
            remedy=f"Ask a run that it was made of, {of}, or rank by the hybrid's scores:"
            f" crossan recommend {shlex.quote(str(path))} --user USER",
        )
    raise UsageError(
        f"{path}: expected a run of a model that makes vectors of items and histories,"
        f" got one of {opened.settings.model.kind}, which has none of a history",
        remedy=(
            "Rank by its scores instead:"
            f" crossan recommend {shlex.quote(str(path))} --all-users --out top.parquet"
        ),
    )


@torch.inference_mode()
def expert_weights(opened: OpenedRun) -> Tensor:
    """Return how much the fusion takes of each modality, ``(items, modality)`` on the CPU.

    The weights of an item sum to one. Of a modality that MOMEF does not choose for
    an item (Eq. 6), or that the item lacks, the weight is 0.

    Raises
    ------
    UsageError
        The model has no fusion that weighs modalities.
    """
    encoder = getattr(opened.model, "item_encoder", None)
    fusion = getattr(encoder, "fusion", None)
    has_weights = isinstance(fusion, Momef) or hasattr(fusion, "weights")
    if encoder is None or not isinstance(fusion, nn.Module) or not has_weights:
        name = type(fusion).__name__ if fusion is not None else "none"
        raise UsageError(
            f"{opened.folder.path}: expected a model whose fusion weighs modalities, got one of"
            f" {opened.settings.model.kind} with the fusion {name}"
        )
    opened.model.eval()
    rows = torch.arange(len(opened.features.presence))
    parts = []
    for block in rows.split(ITEMS_PER_BLOCK):
        hidden, presence = opened.features.gather(block)
        outputs = encoder.towers(hidden, presence)
        parts.append(_weights_of(fusion, outputs, presence).float().cpu())
    return torch.cat(parts)


def _weights_of(fusion: nn.Module, outputs: Tensor, presence: Tensor) -> Tensor:
    if not isinstance(fusion, Momef):
        weights: Tensor = fusion.weights(outputs, presence)  # type: ignore[operator]
        return weights
    chosen, weights = fusion.route(outputs, presence)
    return weights.new_zeros(presence.shape).scatter(1, chosen, weights)


def _require_rows(number: int, history: np.ndarray, item_count: int) -> None:
    """Refuse a history from which no vector follows."""
    if not len(history):
        raise UsageError(f"histories[{number}]: expected at least one item, got none")
    # A negative row would count from the end, and give somebody else's vector.
    if history.min() < 0 or history.max() >= item_count:
        raise UsageError(
            f"histories[{number}]: expected catalogue rows from 0 to {item_count - 1:,}, got"
            f" {history.min():,} to {history.max():,}"
        )
