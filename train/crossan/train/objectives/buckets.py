r"""Batches filled up to a few shapes, so that a step can be recorded once and repeated.

A batch of B users has as many distinct items and predictions as it happens to have. Both are
filled up to the next rung of a ladder, and the users of the last batch up to B. What was filled in
has no part in the loss or in any gradient:

- a filled column has :math:`\log c_j = -\infty`, so it is nobody's negative in Eq. 7, and no
  sequence looks it up. It repeats an item of the batch, whose features are at hand;
- a filled prediction counts 0, and the mean of Eq. 8 divides by those that count 1;
- a filled user has padding alone.

Shapes apart, the arithmetic is that of `crossan.train.objectives.loss`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

from crossan.train.features import Fetched, ItemInputs
from crossan.train.models.sequence_model import SequenceModel
from crossan.train.objectives.loss import BatchColumns, batch_columns, debiased_loss_of_batch
from crossan.train.sequences.padding import PADDING

__all__ = ["Bucket", "BucketedBatches", "bucket_of", "filled", "in_one_piece", "out_of_one_piece"]

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

    axis: Axis
    """What its first dimension counts."""
    value: float | None
    """What stands in the added rows; None repeats the first row."""


_FILLINGS = {
    "items": _Filling("columns", None),
    "sequences": _Filling("users", PADDING),
    "log_multiplicity": _Filling("columns", float("-inf")),
    "predicting": _Filling("predictions", None),
    "positive": _Filling("predictions", None),
    "user_items": _Filling("predictions", PADDING),
    "counts": _Filling("predictions", 0.0),
}
"""By the names of `BatchColumns`; another index of a batch needs a line here."""


def bucket_of(columns: BatchColumns, user_count: int) -> Bucket:
    """Return the smallest bucket that holds a batch.

    Parameters
    ----------
    columns
        The batch.
    user_count
        Users of every bucket, at least those of the batch.
    """
    return Bucket(
        user_count,
        _rung(len(columns.items), _COLUMN_RUNGS),
        _rung(len(columns.positive), _PREDICTION_RUNGS),
    )


def _rung(count: int, rungs: int) -> int:
    """Return the lowest rung that is not below ``count``, and at least one step."""
    power = 1 << max(count - 1, 0).bit_length()  # the next power of two
    step = max(power // (2 * rungs), _LOWEST_STEP)
    return max(-(-count // step), 1) * step


def filled(columns: BatchColumns, bucket: Bucket) -> BatchColumns:
    """Return a batch filled up to a bucket, with the same loss and gradients.

    Raises
    ------
    ValueError
        The batch is larger than the bucket.
    """
    counts = columns.log_multiplicity.new_ones(len(columns.positive))
    return _of_parts(
        {
            name: _lengthened(name, part, getattr(bucket, _FILLINGS[name].axis))
            for name, part in _parts(replace(columns, counts=counts)).items()
        }
    )


def _lengthened(name: str, rows: Tensor, length: int) -> Tensor:
    missing, value = length - len(rows), _FILLINGS[name].value
    if missing < 0:
        raise ValueError(f"expected at most {length} {name} in this bucket, got {len(rows)}")
    if value is None:
        # A batch in which nothing is predicted has no row to repeat, and row 0 always exists.
        more = rows[:1] if len(rows) else rows.new_zeros((1, *rows.shape[1:]))
        return torch.cat([rows, more.expand(missing, *rows.shape[1:])])
    return torch.cat([rows, rows.new_full((missing, *rows.shape[1:]), value)])


def in_one_piece(columns: BatchColumns, room: Callable[[int], Tensor]) -> Tensor:
    """Return all bytes of a filled batch in one tensor, which one copy takes to a device.

    Parameters
    ----------
    columns
        The batch.
    room
        Returns an uninitialised uint8 tensor of some length.
    """
    parts = [part.contiguous().view(torch.uint8).flatten() for part in _parts(columns).values()]
    aligned = [F.pad(part, (0, _room_of(part) - len(part))) for part in parts]
    piece = room(sum(len(part) for part in aligned))
    return torch.cat(aligned, out=piece)


def out_of_one_piece(piece: Tensor, like: BatchColumns) -> BatchColumns:
    """Return the batch that lies in a tensor of `in_one_piece`, as views into it.

    Parameters
    ----------
    piece
        uint8, on any device.
    like
        A batch of the same bucket, of which shapes and dtypes are read.
    """
    models = _parts(like)
    rooms = piece.split([_room_of(model) for model in models.values()])
    return _of_parts(
        {
            name: room[: model.nbytes].view(model.dtype).view(model.shape)
            for (name, model), room in zip(models.items(), rooms, strict=True)
        }
    )


def _room_of(part: Tensor) -> int:
    """Return the bytes of a tensor, up to where any dtype may begin."""
    return -(-part.nbytes // _ALIGNMENT) * _ALIGNMENT


def _parts(columns: BatchColumns) -> dict[str, Tensor]:
    return {name: getattr(columns, name) for name in _FILLINGS}


def _of_parts(parts: dict[str, Tensor]) -> BatchColumns:
    return BatchColumns(**parts)


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
    """

    def __init__(self, sequences: Tensor, batch_size: int, log_popularity: Tensor) -> None:
        self._sequences, self._log_popularity = sequences, log_popularity
        self._user_count = min(batch_size, len(sequences))

    def columns_of(self, batch: Tensor) -> tuple[Bucket, BatchColumns]:
        """Return the bucket of some users, ``(n,)``, and what their step reads, on the CPU."""
        columns = batch_columns(self._sequences[batch])
        bucket = bucket_of(columns, self._user_count)
        return bucket, filled(columns, bucket)

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
            columns, item_vectors, model.sequence_encoder, self._log_popularity
        )
