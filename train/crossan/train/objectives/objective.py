"""What every objective is to the training loop, and those that learn from whole sequences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from crossan.train.features import ItemInputs
from crossan.train.objectives.step import Prepared
from crossan.train.sequences.padding import PADDING

__all__ = ["Objective", "SequenceLoss", "SequenceObjective"]


class Objective(Protocol):
    """What training minimises.

    An objective gives the batches of an epoch and a loss for each of them.
    """

    def batches(self, epoch: int) -> Sequence[Tensor]:
        """Return what every step of an epoch learns from.

        It is the same for the same epoch, so that a resumed run finds its place.
        """

    def items_of(self, batch: Tensor) -> Tensor:
        """Return the catalogue rows in a batch, each once, for a divergence to name."""

    def prepare(self, features: ItemInputs, batch: Tensor) -> Prepared:
        """Prepare the loss of a batch.

        What is remembered is read and changed by the function returned alone,
        which is called once, batch after batch: another thread may prepare.
        """

    def state(self) -> dict[str, Tensor]:
        """Return what is remembered from step to step, by name."""

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Remember what `state` returned."""


class SequenceLoss(Protocol):
    """A loss of some users' sequences, with whatever it remembers between two steps."""

    def prepare(self, features: ItemInputs, sequences: Tensor) -> Prepared:
        """Prepare the loss of ``(users, position)`` catalogue rows padded with `PADDING`.

        The sequences are on the CPU; otherwise as `Objective.prepare`.
        """

    def state(self) -> dict[str, Tensor]:
        """Return what is remembered, by name."""

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Remember what `state` returned."""


class SequenceObjective:
    """Learn from the sequences of some users at a time.

    Parameters
    ----------
    loss
        The loss of a batch of sequences.
    sequences
        Each user's training part, padded on the left, ``(users, position)`` catalogue rows.
    batch_size
        Users per step.
    seed
        Seed of their order, which depends on nothing but this and the epoch.
    """

    def __init__(self, loss: SequenceLoss, sequences: Tensor, batch_size: int, seed: int) -> None:
        self._loss, self._sequences = loss, sequences
        self._batch_size, self._seed = batch_size, seed

    def batches(self, epoch: int) -> Sequence[Tensor]:
        """Return the users of every step of an epoch."""
        order = np.random.default_rng([self._seed, epoch]).permutation(len(self._sequences))
        batches: Sequence[Tensor] = torch.from_numpy(order).split(self._batch_size)
        return batches

    def items_of(self, batch: Tensor) -> Tensor:
        """Return the catalogue rows in the sequences of a batch, each once."""
        sequences = self._sequences[batch]
        rows: Tensor = sequences[sequences != PADDING].unique()
        return rows

    def prepare(self, features: ItemInputs, batch: Tensor) -> Prepared:
        """Prepare the loss of a batch."""
        return self._loss.prepare(features, self._sequences[batch])

    def state(self) -> dict[str, Tensor]:
        """Return what the loss remembers."""
        return self._loss.state()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Have the loss remember what `state` returned."""
        self._loss.restore(state)
