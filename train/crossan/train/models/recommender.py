"""What the rest of the program sees of a model.

No base class: a model is a `torch.nn.Module` that has these methods, and one
of the two ways to be ranked by (`crossan.train.evaluation.ranker`): vectors,
or scores that follow from counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

from crossan.train.features import HiddenStates, ItemInputs
from crossan.train.layers.item_pairs import item_pairs_of
from crossan.train.sequences.refit import TrainingSequences

__all__ = [
    "CountingModel",
    "CountsManyAtOnce",
    "HasItemRows",
    "ModelContext",
    "ParameterGroups",
    "TableModel",
    "belongs_to_items",
    "item_rows_of",
]


def _no_titles() -> Sequence[str | None]:
    return []


@dataclass(frozen=True, slots=True)
class ModelContext:
    """What a model is built for, with no test target in reach."""

    inputs: ItemInputs
    """What items are read by: hidden states, none of a modality where the kind reads none, or the
    raw inputs of backbones."""

    seen: TrainingSequences
    """Training parts of all users, and their validation targets unless the run is a refit."""

    counts: np.ndarray
    """How often each catalogue row occurs in training, ``(items,)`` int64."""

    input_length: int
    """Items that a sequence encoder reads at most; the paper's is 10."""

    titles: Callable[[], Sequence[str | None]] = _no_titles
    """Read the title of each catalogue row, None where it has none; for the kinds that ask."""

    batch_size: int = 128
    """What a step takes at most; the last one of an epoch may take less."""

    seed: int = 0
    """Seed of what a model draws apart from torch's generators, such as the edges of an epoch."""

    @property
    def features(self) -> HiddenStates:
        """Hidden states of the catalogue, for the kinds that read them.

        Raises
        ------
        TypeError
            The run has other inputs than hidden states.
        """
        if not isinstance(self.inputs, HiddenStates):
            raise TypeError(f"expected hidden states, got {type(self.inputs).__name__}")
        return self.inputs

    def is_trained(self) -> Tensor:
        """Return which catalogue items occur in training, ``(items,)`` bool on the CPU."""
        return torch.from_numpy(self.counts > 0)


@dataclass(frozen=True, slots=True)
class ParameterGroups:
    """The trained parameters by the learning rate they take (`OptimiserSettings`)."""

    rest: list[nn.Parameter]
    """All that take ``optimiser.lr``."""

    adapters: list[nn.Parameter] = field(default_factory=list)
    """Side-adapter towers and their gates, ``optimiser.adapter_lr``."""

    ids: list[nn.Parameter] = field(default_factory=list)
    """Vectors of item ids, ``optimiser.id_lr``."""

    text: list[nn.Parameter] = field(default_factory=list)
    """What is trained of a text backbone, ``optimiser.text_lr``."""


@runtime_checkable
class HasItemRows(Protocol):
    """A model some of whose weights belong to single items."""

    def item_rows(self) -> tuple[str, ...]:
        """Return the names of the weights that have a row for every catalogue item."""


def belongs_to_items(model: nn.Module) -> bool:
    """Return whether some weights of a model belong to single items, or to pairs of them."""
    return bool(item_rows_of(model) or item_pairs_of(model))


def item_rows_of(model: nn.Module) -> tuple[str, ...]:
    """Return the names of a model's weights that have a row for every catalogue item."""
    return model.item_rows() if isinstance(model, HasItemRows) else ()


@runtime_checkable
class TableModel(Protocol):
    """A model with a vector for every user and item, learned from triples.

    Such are factorisations and all models that propagate over a graph. A user
    outside the training parts has no vector.
    """

    def propagate(self) -> tuple[Tensor, Tensor]:
        """Return the vectors of users ``(users, width)`` and of items ``(items, width)``.

        A score is the product of two of them.
        """

    def loss(self, users: Tensor, items: Tensor, others: Tensor) -> Tensor:
        """Return the loss of triples, whatever terms a model adds to it among them.

        Parameters
        ----------
        users
            Rows of users, ``(triples,)``.
        items
            Catalogue row of an item of each, ``(triples,)``.
        others
            That of an item which the user does not have, ``(triples,)``.
        """

    def begin_epoch(self, epoch: int) -> None:
        """Prepare for the steps of an epoch, counted from 1.

        It is called again where a run is resumed within the epoch, and must then do the same.
        """

    def parameter_groups(self) -> ParameterGroups:
        """Return the parameters by the learning rate they take."""


@runtime_checkable
class CountingModel(Protocol):
    """A model whose scores are counts of what users did, built and not trained."""

    def base_scores(self) -> Tensor:
        """Return the scores of all items for a user without a history, ``(items,)``."""

    def scores_after(self, history: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return what a history adds to them.

        Parameters
        ----------
        history
            Catalogue rows of a user's items, oldest first.

        Returns
        -------
        tuple[np.ndarray, np.ndarray]
            Catalogue rows, each at most once, and what their scores gain.
        """


@runtime_checkable
class CountsManyAtOnce(Protocol):
    """A model that counts, and does it for many users faster than for one after another."""

    def gains(self) -> Callable[[Sequence[np.ndarray]], sparse.csr_array]:
        """Return a function from histories to what each adds to the scores of a user without one.

        Its result is ``(histories, items)``, on the CPU. It is asked for once and called for
        one block of users after another.
        """
