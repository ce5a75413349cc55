r"""Batches filled up to a few shapes, so that a step can be recorded once and repeated.

A batch of B users has as many distinct items and predictions as it happens to have. Both are
filled up to the next rung of a ladder, and the users of the last batch up to B. What was filled in
has no part in the loss or in any gradient:

- a filled column has :math:`\log c_j = -\infty`, so it is nobody's negative in Eq. 7, and no
  sequence looks it up. It repeats an item of the batch, whose features are at hand;
- a filled prediction counts 0, and the mean of Eq. 8 divides by those that count 1;
- a filled user has padding alone, and no place of a filled prediction is looked up for another.

Shapes apart, the arithmetic is that of `crossan.train.objectives.loss`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy.typing as npt
import torch
from torch import Tensor

from crossan.train.features import Fetched, ItemInputs
from crossan.train.layers.packing import Packing
from crossan.train.models.sequence_model import SequenceModel
from crossan.train.objectives.candidates import InBatchRule, columns_by, softmax_by
from crossan.train.objectives.columns import BatchColumns
from crossan.train.objectives.loss import debiased_loss_of_batch
from crossan.train.sequences.padding import PADDING

__all__ = ["Bucket", "BucketedBatches", "FilledBatch", "bucket_of", "filled", "ordinary_memory"]

_COLUMN_RUNGS, _PREDICTION_RUNGS = 8, 4
"""Rungs between two powers of two. Every column costs a pass through the towers, so at most an
eighth may be filled in; a prediction is one row of logits, and fewer shapes are worth more."""
_LOWEST_STEP = 8
"""Least distance of two rungs. Matmuls like row counts that 8 divides."""
_ALIGNMENT = 8
"""Bytes of the widest number of a batch."""

Axis = Literal["users", "columns", "predictions"]


@dataclass(frozen=True, slots=True)
class Bucket:
    """The shape that a batch is filled up to."""

    users: int
    columns: int
    predictions: int


@dataclass(frozen=True, slots=True)
class _Filling:
    """How one tensor of `BatchColumns` is filled up."""

    axis: Axis | None
    """What its first dimension counts; None where every bucket has the same number of it."""
    value: float | None
    """What stands in the added rows; None repeats the first row."""


_FILLINGS = {
    "items": _Filling("columns", None),
    "log_multiplicity": _Filling("columns", float("-inf")),
    "is_real": _Filling("users", False),
    "places": _Filling("predictions", None),
    "rows": _Filling("users", 0),
    "inputs": _Filling("predictions", None),
    "positive": _Filling("predictions", None),
    "user_items": _Filling("predictions", PADDING),
    "counts": _Filling("predictions", 0.0),
    "share": _Filling(None, None),
    "log_q": _Filling("columns", None),
    "log_weight": _Filling("predictions", 0.0),
}
"""By the names of `BatchColumns` and its `Packing`; another index of a batch needs a line here."""


def bucket_of(
    columns: BatchColumns, user_count: int, prediction_count: int | None = None
) -> Bucket:
    """Return the smallest bucket that holds a batch.

    Parameters
    ----------
    columns
        The batch.
    user_count
        Users of every bucket, at least those of the batch.
    prediction_count
        Predictions that it holds, where that is more than the batch has.
    """
    predictions = len(columns.positive) if prediction_count is None else prediction_count
    return Bucket(
        user_count,
        _rung(len(columns.items), _COLUMN_RUNGS),
        _rung(predictions, _PREDICTION_RUNGS),
    )


def _rung(count: int, rungs: int) -> int:
    """Return the lowest rung that is not below ``count``, and at least one step."""
    power = 1 << max(count - 1, 0).bit_length()  # the next power of two
    step = max(power // (2 * rungs), _LOWEST_STEP)
    return max(-(-count // step), 1) * step


@dataclass(frozen=True, slots=True)
class FilledBatch:
    """A batch filled up to a bucket, on the CPU."""

    bucket: Bucket
    piece: Tensor
    """All of its numbers side by side, uint8, which one copy takes to a device."""
    columns: BatchColumns
    """The same as views into the piece."""

    def columns_in(self, piece: Tensor) -> BatchColumns:
        """Return a batch of the same bucket that lies in another piece, as views into that."""
        parts = _parts(self.columns).items()
        return _columns_of(_views(piece, {name: (p.shape, p.dtype) for name, p in parts}))


def ordinary_memory(length: int) -> Tensor:
    """Return an uninitialised uint8 tensor on the CPU."""
    return torch.empty(length, dtype=torch.uint8)


def filled(
    columns: BatchColumns, bucket: Bucket, room: Callable[[int], Tensor] = ordinary_memory
) -> FilledBatch:
    """Return a batch filled up to a bucket, with the same loss and gradients.

    Parameters
    ----------
    columns
        The batch, on the CPU.
    bucket
        What it is filled up to.
    room
        Returns an uninitialised uint8 tensor of some length, for the piece.

    Raises
    ------
    ValueError
        The batch is larger than the bucket.
    """
    counts = columns.log_multiplicity.new_ones(len(columns.positive))
    parts = _parts(replace(columns, counts=counts))
    layout = {
        name: ((_length(name, part, bucket), *part.shape[1:]), part.dtype)
        for name, part in parts.items()
    }
    piece = room(sum(_room_of(*shape_and_dtype) for shape_and_dtype in layout.values()))
    views = _views(piece, layout)
    for name, part in parts.items():
        _fill(name, part.numpy(), views[name].numpy())
    return FilledBatch(bucket, piece, _columns_of(views))


def _length(name: str, part: Tensor, bucket: Bucket) -> int:
    """Return how many rows a tensor of a batch has in a bucket."""
    axis = _FILLINGS[name].axis
    return len(part) if axis is None else int(getattr(bucket, axis))


def _fill(name: str, rows: npt.NDArray[Any], out: npt.NDArray[Any]) -> None:
    """Put rows at the beginning of ``out``, and what its tensor is filled up with after them.

    In numpy, whose calls take a tenth of the time of torch's on arrays as small as these.
    """
    count, value = len(rows), _FILLINGS[name].value
    if count > len(out):
        raise ValueError(f"expected at most {len(out)} {name} in this bucket, got {count}")
    out[:count] = rows
    if value is None:
        # A batch in which nothing is predicted has no row to repeat, and row 0 always exists.
        value = rows[0] if count else 0
    out[count:] = value


_Layout = Mapping[str, tuple[Sequence[int], torch.dtype]]
"""Shape and dtype of every tensor of a batch."""


def _views(piece: Tensor, layout: _Layout) -> dict[str, Tensor]:
    """Return the tensors that lie side by side in a piece."""
    rooms = piece.split([_room_of(*shape_and_dtype) for shape_and_dtype in layout.values()])
    return {
        name: room[: math.prod(shape) * dtype.itemsize].view(dtype).view(shape)
        for room, (name, (shape, dtype)) in zip(rooms, layout.items(), strict=True)
    }


def _room_of(shape: Sequence[int], dtype: torch.dtype) -> int:
    """Return the bytes of a tensor, up to where any dtype may begin."""
    return -(-math.prod(shape) * dtype.itemsize // _ALIGNMENT) * _ALIGNMENT


def _parts(columns: BatchColumns) -> dict[str, Tensor]:
    packing = columns.packing
    of_packing = {
        "is_real": packing.is_real,
        "places": packing.places,
        "rows": packing.rows.view(packing.is_real.shape),
    }
    parts = {
        name: of_packing[name] if name in of_packing else getattr(columns, name)
        for name in _FILLINGS
    }
    # By Eqs. 7-8 alone a batch has no corrections of its own, and one rank has no share.
    return {name: part for name, part in parts.items() if part is not None}


def _columns_of(parts: Mapping[str, Tensor]) -> BatchColumns:
    """Return the batch of which `_parts` are the parts."""
    others = dict(parts)
    is_real, places, rows = (others.pop(name) for name in ("is_real", "places", "rows"))
    return BatchColumns(packing=Packing(is_real, places, rows.view(-1), is_filled=True), **others)


class BucketedBatches:
    """The batches of the in-batch objective, filled up to buckets.

    Parameters
    ----------
    sequences
        Each user's training part, padded on the left, ``(users, position)`` catalogue rows on the
        CPU.
    batch_size
        Users per step.
    log_popularity
        Log p of the catalogue, ``(items,)``, where the model computes.
    rule
        What is done beside Eqs. 7-8; by default nothing.
    """

    def __init__(
        self,
        sequences: Tensor,
        batch_size: int,
        log_popularity: Tensor,
        rule: InBatchRule | None = None,
    ) -> None:
        self._sequences, self._log_popularity, self._rule = sequences, log_popularity, rule
        self._user_count = min(batch_size, len(sequences))

    def filled(self, batch: Tensor, room: Callable[[int], Tensor] = ordinary_memory) -> FilledBatch:
        """Return what the step of some users, ``(n,)``, reads; ``room`` is as for `filled`."""
        columns = columns_by(self._rule, self._sequences[batch])
        return filled(columns, bucket_of(columns, self._user_count), room)

    def items_of(self, columns: BatchColumns) -> Tensor:
        """Return the catalogue rows whose vectors the step makes, ``(columns,)``."""
        return columns.items

    def loss_of(
        self, model: SequenceModel, inputs: ItemInputs | Fetched, columns: BatchColumns
    ) -> Tensor:
        """Return the loss of a filled batch, which depends on nothing but shapes on the host.

        Parameters
        ----------
        model
            What makes the vectors.
        inputs
            Gathers the rows of ``columns.items`` where the model computes.
        columns
            The batch, where the model computes.
        """
        item_vectors = model.item_vectors(inputs, columns.items)
        return debiased_loss_of_batch(
            columns,
            item_vectors,
            model.sequence_encoder.packed,
            self._log_popularity,
            softmax_by(self._rule),
        )
