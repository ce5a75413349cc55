"""Training, validation and test parts, each with a type of its own.

Code that selects a model takes a validation part, so the type checker refuses
the test part there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from crossan.common.datasets.protocol import KeptSequences, SelectionSequences
from crossan.train.sequences.padding import PADDING

__all__ = [
    "CatalogueRows",
    "TestSplit",
    "TrainSplit",
    "ValidationSplit",
    "pad_left",
    "test_split",
    "train_split",
    "users_of_split",
    "validation_split",
]

CatalogueRows = npt.NDArray[np.int64]
"""Rows of the catalogue, ``(n,)``, or one number for each."""


@dataclass(frozen=True, slots=True)
class TrainSplit:
    """The training part of every user, padded on the left.

    Shapes: ``sequences`` ``(users, input length + 1)`` catalogue rows.
    """

    sequences: Tensor


@dataclass(frozen=True, slots=True)
class ValidationSplit:
    """The validation targets of every user, one or several.

    Shapes: ``inputs`` ``(users, input length)`` catalogue rows padded on the
    left; ``targets`` ``(targets,)``; ``users`` ``(targets,)`` the user of each, in
    order; ``histories`` the items of each user that the targets are ranked after.
    """

    inputs: Tensor
    targets: Tensor
    users: Tensor
    histories: Sequence[CatalogueRows]


@dataclass(frozen=True, slots=True)
class TestSplit:
    """The test targets of every user, one or several.

    Shapes are those of `ValidationSplit`.
    """

    __test__ = False  # not a test class, whatever its name tells pytest

    inputs: Tensor
    targets: Tensor
    users: Tensor
    histories: Sequence[CatalogueRows]


def train_split(seen: SelectionSequences, input_length: int) -> TrainSplit:
    """Return the training parts.

    Of a longer one the last ``input_length + 1`` items are trained on.
    """
    # One position more than the model reads: positions 0 to n - 1 are its input, and positions
    # 1 to n the items to predict.
    return TrainSplit(pad_left(seen.training_parts(), input_length + 1))


def validation_split(seen: SelectionSequences, input_length: int) -> ValidationSplit:
    """Return the validation targets with the training part, after which they are ranked."""
    histories = seen.training_parts()
    return ValidationSplit(
        pad_left(histories, input_length),
        torch.from_numpy(seen.validation_targets),
        torch.from_numpy(seen.validation_users),
        histories,
    )


def test_split(kept: KeptSequences, input_length: int) -> TestSplit:
    """Return the test targets with what they are ranked after.

    Of ``leave-last-out`` the validation target is among it, of ``mmrec-random`` it
    is not (see `KeptSequences.test_histories`).
    """
    histories = kept.test_histories()
    return TestSplit(
        pad_left(histories, input_length),
        torch.from_numpy(kept.test_targets),
        torch.from_numpy(kept.test_users),
        histories,
    )


test_split.__test__ = False  # type: ignore[attr-defined]


SplitT = TypeVar("SplitT", bound=ValidationSplit | TestSplit)


def users_of_split(split: SplitT, users: slice) -> SplitT:
    """Return the part of a split that is about a range of its users, counted anew from 0."""
    first, end, _ = users.indices(len(split.inputs))
    of_part = slice(*torch.searchsorted(split.users, torch.tensor([first, end])).tolist())
    return replace(
        split,
        inputs=split.inputs[first:end],
        targets=split.targets[of_part],
        users=split.users[of_part] - first,
        histories=split.histories[first:end],
    )


def pad_left(sequences: Sequence[CatalogueRows], length: int) -> Tensor:
    """Return the last ``length`` items of each sequence, ``(sequences, length)``.

    Shorter sequences have `PADDING` on the left.
    """
    padded = np.full((len(sequences), length), PADDING, np.int64)
    for row, items in enumerate(sequences):
        last = items[-length:]
        padded[row, length - len(last) :] = last
    return torch.from_numpy(padded)
