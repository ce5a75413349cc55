"""Training, validation and test parts, each with a type of its own.

Code that selects a model takes a validation part, so the type checker refuses
the test part there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
    """The last but one item of every user is the target.

    Shapes: ``inputs`` ``(users, input length)`` catalogue rows padded on the
    left; ``targets`` ``(users,)``; ``histories`` each user's kept items before
    the target.
    """

    inputs: Tensor
    targets: Tensor
    histories: Sequence[CatalogueRows]


@dataclass(frozen=True, slots=True)
class TestSplit:
    """The last item of every user is the target.

    Shapes are those of `ValidationSplit`.
    """

    __test__ = False  # not a test class, whatever its name tells pytest

    inputs: Tensor
    targets: Tensor
    histories: Sequence[CatalogueRows]


def train_split(seen: SelectionSequences, input_length: int) -> TrainSplit:
    """Return the training parts, which are all but the last two items of every user."""
    # `seen` ends with the validation target. One position more than the model reads: positions
    # 0 to n - 1 are its input, and positions 1 to n the items to predict.
    return TrainSplit(pad_left(_all_but_last(seen), input_length + 1))


def validation_split(seen: SelectionSequences, input_length: int) -> ValidationSplit:
    """Return the validation targets with what precedes them."""
    histories = _all_but_last(seen)
    return ValidationSplit(
        pad_left(histories, input_length), torch.from_numpy(seen.validation_targets), histories
    )


def test_split(kept: KeptSequences, input_length: int) -> TestSplit:
    """Return the test targets with what precedes them, the validation target included."""
    histories = _all_but_last(kept)
    return TestSplit(
        pad_left(histories, input_length), torch.from_numpy(kept.test_targets), histories
    )


test_split.__test__ = False  # type: ignore[attr-defined]


def pad_left(sequences: Sequence[CatalogueRows], length: int) -> Tensor:
    """Return the last ``length`` items of each sequence, ``(sequences, length)``.

    Shorter sequences have `PADDING` on the left.
    """
    padded = np.full((len(sequences), length), PADDING, np.int64)
    for row, items in enumerate(sequences):
        last = items[-length:]
        padded[row, length - len(last) :] = last
    return torch.from_numpy(padded)


def _all_but_last(sequences: KeptSequences | SelectionSequences) -> list[CatalogueRows]:
    return [sequences.sequence(user)[:-1] for user in range(len(sequences.user_ids))]
