"""Steps of a few shapes, each recorded once and then repeated.

An accelerator computes a step of 128 users in a fraction of the time that the host needs to launch
its several hundred kernels one by one. A recording is launched at once, but in one shape and from
one set of addresses. So batches are filled up to buckets (`crossan.train.objectives.buckets`), each
bucket has tensors of its own that every batch of it is copied to, and the first batch of a bucket
is computed as usual, the second is recorded, and from then on the recording is repeated. Every one
of these is the step of its batch: nothing is computed to warm up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from crossan.train.features import Fetched, ItemInputs
from crossan.train.features.interface import GatheredInputs
from crossan.train.features.table import FeatureTable
from crossan.train.loop.adamw import AdamW
from crossan.train.loop.gradient_sum import GradientSum
from crossan.train.loop.recorder import Recorder
from crossan.train.models.sequence_model import SequenceModel
from crossan.train.objectives.buckets import Bucket, BucketedBatches, FilledBatch
from crossan.train.objectives.columns import BatchColumns
from crossan.train.objectives.shared_buckets import SharedBatches

__all__ = ["RecordedSteps"]


@dataclass(frozen=True, slots=True)
class _Ready:
    """What the step of a batch needs, on the host."""

    batch: FilledBatch
    """In memory that the device copies from without waiting."""
    fetched: Fetched | None
    """The features of its items on their way; None where the device holds all of them."""


_Compute = Callable[[BatchColumns, GatheredInputs | None], None]
"""Computes the step of a batch, given its features where they were gathered."""


class _Program:
    """The step of one bucket, with the tensors that it reads.

    Parameters
    ----------
    piece
        Every number of a batch, on the device.
    columns
        The same as views into the piece.
    gathered
        Features of its items on the device; None where the step gathers them itself.
    """

    def __init__(
        self, piece: Tensor, columns: BatchColumns, gathered: GatheredInputs | None
    ) -> None:
        self._piece, self._columns, self._gathered = piece, columns, gathered
        self._is_warm = False
        self._repeat: Callable[[], None] | None = None

    def put(self, piece: Tensor, gathered: GatheredInputs | None) -> None:
        """Copy a batch to where the step reads it."""
        self._piece.copy_(piece, non_blocking=True)
        if self._gathered is None or gathered is None:
            return
        for kept, states in zip(self._gathered[0], gathered[0], strict=True):
            kept.copy_(states, non_blocking=True)
        self._gathered[1].copy_(gathered[1], non_blocking=True)

    def run(self, recorder: Recorder, compute: _Compute) -> None:
        """Take the step of the batch that was put.

        Parameters
        ----------
        recorder
            What the device records by.
        compute
            Computes a step. It is not kept: whoever has it has this program, and recordings must
            end with the training, not when a circle is collected. NCCL waits for that.
        """
        if not self._is_warm:
            # By this everything that is made only once is made: moments, rates, workspaces.
            self._is_warm = True
            compute(self._columns, self._gathered)
            return
        if self._repeat is None:
            self._repeat = recorder.record(partial(compute, self._columns, self._gathered))
        self._repeat()


class RecordedSteps:
    """Take the steps of a sequence model with the in-batch objective by recordings.

    Parameters
    ----------
    model, batches, features, optimiser
        What is trained, on which batches, on what, and by which rule.
    recorder
        What the device records by.
    sum_gradients
        What adds up the gradients of several ranks, None for one.
    """

    def __init__(
        self,
        model: SequenceModel,
        batches: BucketedBatches | SharedBatches,
        features: ItemInputs,
        optimiser: AdamW,
        recorder: Recorder,
        sum_gradients: GradientSum | None = None,
    ) -> None:
        self._model, self._batches, self._features = model, batches, features
        self._optimiser, self._recorder = optimiser, recorder
        self._sum_gradients = sum_gradients
        self._device = features.presence.device
        self._programs: dict[Bucket, _Program] = {}
        self._loss = torch.zeros((), device=self._device)

    def prepare(self, batch: Tensor) -> _Ready:
        """Fill a batch up to its bucket, and begin to gather features that the device lacks."""
        ready = self._batches.filled(batch, self._recorder.host_memory)
        rows = self._batches.items_of(ready.columns)
        fetched = None if self._is_resident else self._features.fetch(rows)
        return _Ready(ready, fetched)

    def take(self, prepared: _Ready) -> Tensor:
        """Take the step by the recording of its bucket."""
        batch, gathered = prepared.batch, None
        if prepared.fetched is not None:
            upload = partial(prepared.fetched.gather, self._batches.items_of(batch.columns))
            gathered = self._recorder.ahead(upload)
        with self._recorder.in_order():
            if batch.bucket not in self._programs:
                self._programs[batch.bucket] = self._program_like(batch, gathered)
            program = self._programs[batch.bucket]
            program.put(batch.piece, gathered)
            program.run(self._recorder, self._compute)
        return self._loss

    @property
    def _is_resident(self) -> bool:
        return isinstance(self._features, FeatureTable)

    def _program_like(self, batch: FilledBatch, gathered: GatheredInputs | None) -> _Program:
        """Return the program of a bucket, of which one batch is at hand."""
        piece = torch.empty_like(batch.piece, device=self._device)
        columns = batch.columns_in(piece)
        kept: GatheredInputs | None = None
        if gathered is not None:
            inputs, presence = gathered
            kept = [torch.empty_like(of_one) for of_one in inputs], torch.empty_like(presence)
        return _Program(piece, columns, kept)

    def _compute(self, columns: BatchColumns, kept: GatheredInputs | None) -> None:
        """Compute a step, from tensors that are kept to tensors that are kept."""
        rows = self._batches.items_of(columns)
        inputs = self._features if kept is None else Fetched(rows, lambda: kept)
        # Before the forward pass: its gradients are made anew in the memory of this recording.
        self._optimiser.zero_grad()
        loss = self._batches.loss_of(self._model, inputs, columns)
        loss.backward()
        if self._sum_gradients is not None:
            loss = self._sum_gradients(loss)
        self._optimiser.step()
        self._loss.copy_(loss.detach())
