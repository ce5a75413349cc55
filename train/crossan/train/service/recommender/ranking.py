"""Scores of some histories over the whole catalogue, with all that can be computed once kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

from crossan.cache_schema.errors import StoreIntegrityError
from crossan.train.evaluation.best import best_items, best_shown
from crossan.train.evaluation.encoding import encode_items
from crossan.train.evaluation.hybrid import hybrid_ranker_maker
from crossan.train.evaluation.ranker import CountRanker, Ranker
from crossan.train.features import ItemInputs
from crossan.train.layers.packing import Packing
from crossan.train.models.hybrid_of_runs import HybridOfRuns
from crossan.train.models.recommender import CountingModel, CountsManyAtOnce, TableModel
from crossan.train.models.sequence_model import SequenceModel
from crossan.train.sequences.padding import PADDING
from crossan.train.sequences.splits import CatalogueRows, pad_left
from crossan.train.service.recommender.selection import best_of

__all__ = [
    "Best",
    "CountedScores",
    "HybridScores",
    "Query",
    "Scores",
    "TableScores",
    "VectorScores",
    "scores_of",
]


class Query(NamedTuple):
    """Whom to recommend to."""

    read: CatalogueRows
    """What the model reads, oldest first."""
    masked: CatalogueRows
    """Items that are not recommended."""
    top: int
    user_row: int | None = None
    """Row among the users of the run, for a model with a vector for each; None for others."""
    new: int = 0
    """Items that nobody had in training, of which the list has so many at least."""


class Best(NamedTuple):
    """The best items of one query, the best first."""

    rows: list[int]
    scores: list[float]


class Scores(Protocol):
    """Ranks the catalogue for several queries at a time."""

    @property
    def at_once(self) -> int:
        """Queries that are answered together at most."""

    def best(self, queries: Sequence[Query], is_shown: Tensor | None = None) -> list[Best]:
        """Return the best items of each query, the best first.

        Of items with equal scores the earlier catalogue row comes first. Only those that
        ``is_shown`` marks may be among them, ``(items,)`` bool, all where it is None.
        """


_SCORES_AT_ONCE = 8_000_000
"""Scores that are held at a time, 32 MB of float32."""
_QUERIES_AT_ONCE = 64
_FEW, _ITEMS_PER_BLOCK = 4, 8192
"""Users whose products are made one by one, block after block of this many items, 2 MiB."""


class VectorScores:
    """Scores of a model that makes a vector of a history and of an item.

    Parameters
    ----------
    model
        The model, of which only the part that reads a history is used.
    item_vectors
        ``(items, width)`` float32.
    input_length
        Items of a history that the model reads at most.
    """

    def __init__(self, model: SequenceModel, item_vectors: Tensor, input_length: int) -> None:
        self._model, self._length = model, input_length
        self._products = _Products(item_vectors)
        self.at_once = self._products.at_once

    def best(self, queries: Sequence[Query], is_shown: Tensor | None = None) -> list[Best]:
        """Return the best items of each query, as `Scores.best`."""
        inputs = pad_left([query.read for query in queries], self._length)
        return self._products.best(self._user_vectors(inputs), queries, is_shown)

    @torch.inference_mode()
    def _user_vectors(self, inputs: Tensor) -> Tensor:
        """Return what `encode_users` does, which goes through all modules of the model each time."""
        is_real = inputs != PADDING
        read = self._products.item_vectors[inputs[is_real]]
        return self._model.sequence_encoder.last(read, Packing.of(is_real))


class TableScores:
    """Scores of a model with a vector for every user of the run.

    Parameters
    ----------
    user_vectors, item_vectors
        ``(users, width)`` and ``(items, width)``.
    """

    def __init__(self, user_vectors: Tensor, item_vectors: Tensor) -> None:
        self._user_vectors = user_vectors
        self._products = _Products(item_vectors)
        self.at_once = self._products.at_once

    def best(self, queries: Sequence[Query], is_shown: Tensor | None = None) -> list[Best]:
        """Return the best items of each query, as `Scores.best`."""
        rows = [query.user_row for query in queries if query.user_row is not None]
        return self._products.best(self._user_vectors[rows], queries, is_shown)


class CountedScores:
    """Scores of a model that counts.

    Parameters
    ----------
    model
        The model.
    """

    at_once = _QUERIES_AT_ONCE

    def __init__(self, model: CountingModel) -> None:
        self._model = _CountedOnce(model) if isinstance(model, CountsManyAtOnce) else model

    def best(self, queries: Sequence[Query], is_shown: Tensor | None = None) -> list[Best]:
        """Return the best items of each query, as `Scores.best`."""
        ranker = CountRanker(self._model, [query.read for query in queries])
        return _best_by(ranker, queries, is_shown)


class HybridScores:
    """Scores of a hybrid of runs.

    Parameters
    ----------
    model
        The hybrid.
    item_vectors
        Those that it makes of the catalogue, ``(items, width)`` float32.
    input_length
        Items of a history that the runs' models read at most.
    """

    def __init__(self, model: HybridOfRuns, item_vectors: Tensor, input_length: int) -> None:
        self._make, self._length = hybrid_ranker_maker(model, item_vectors), input_length
        self.at_once = max(1, min(_QUERIES_AT_ONCE, _SCORES_AT_ONCE // len(item_vectors)))

    def best(self, queries: Sequence[Query], is_shown: Tensor | None = None) -> list[Best]:
        """Return the best items of each query, as `Scores.best`."""
        histories = [query.read for query in queries]
        users = _Users(pad_left(histories, self._length), histories)
        return _best_by(self._make(users), queries, is_shown)


class _Users(NamedTuple):
    """Users by what they had, as a ranker reads them."""

    inputs: Tensor
    histories: Sequence[np.ndarray]


def _best_by(ranker: Ranker, queries: Sequence[Query], is_shown: Tensor | None) -> list[Best]:
    """Return the best items of each query, whose users the ranker has in their order."""
    masked, top = [query.masked for query in queries], max(query.top for query in queries)
    if is_shown is None:
        rows, scores = best_items(ranker, masked, top)
    else:
        rows, scores = best_shown(ranker, masked, top, is_shown)
    answers = []
    for query, of_query, values in zip(queries, rows.tolist(), scores.tolist(), strict=True):
        shown = [row for row in of_query[: query.top] if row >= 0]
        answers.append(Best(shown, values[: len(shown)]))
    return answers


class _Products:
    """The best items by the products of their vectors and a user's."""

    def __init__(self, item_vectors: Tensor) -> None:
        # Column after column in memory: a product of one user reads it in half the time.
        self._by_column = item_vectors.T.contiguous()
        self.item_vectors = self._by_column.T
        self.at_once = max(1, min(_QUERIES_AT_ONCE, _SCORES_AT_ONCE // len(item_vectors)))
        # One buffer for all answers: fresh memory of this size costs as much as the product.
        self._buffer = item_vectors.new_empty((self.at_once, len(item_vectors)))

    @torch.inference_mode()
    def best(
        self, vectors: Tensor, queries: Sequence[Query], is_shown: Tensor | None
    ) -> list[Best]:
        """Return the best items of each query by a vector for each, ``(queries, width)``."""
        scores = self._buffer[: len(queries)]
        self._multiply(vectors, scores)
        if is_shown is not None:
            scores[:, ~is_shown] = float("-inf")
        answers = []
        for query, of_query in zip(queries, scores, strict=True):
            of_query[torch.from_numpy(query.masked)] = float("-inf")
            rows, values = best_of(of_query, query.top)
            answers.append(Best(rows.tolist(), values.tolist()))
        return answers

    def _multiply(self, vectors: Tensor, scores: Tensor) -> None:
        """Write the score of every item for each vector."""
        if len(vectors) > _FEW:
            torch.matmul(vectors, self._by_column, out=scores)
            return
        # Of few users each block of items stays in the processor's cache until all have read it.
        for begin in range(0, scores.shape[1], _ITEMS_PER_BLOCK):
            block = slice(begin, begin + _ITEMS_PER_BLOCK)
            for row in range(len(vectors)):
                of_row = slice(row, row + 1)
                torch.mm(vectors[of_row], self._by_column[:, block], out=scores[of_row, block])


class _CountedOnce:
    """A model that counts, whose tables are prepared once for all queries."""

    def __init__(self, model: CountingModel) -> None:
        assert isinstance(model, CountsManyAtOnce)
        self._base, self._gains, self._model = model.base_scores(), model.gains(), model

    def base_scores(self) -> Tensor:
        return self._base

    def scores_after(self, history: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        assert isinstance(self._model, CountingModel)
        return self._model.scores_after(history)

    def gains(self) -> Callable[[Sequence[np.ndarray]], sparse.csr_array]:
        return self._gains


@torch.inference_mode()
def scores_of(model: nn.Module, features: ItemInputs, input_length: int) -> Scores:
    """Return what ranks the catalogue by a model, with its item vectors computed.

    Raises
    ------
    StoreIntegrityError
        An item vector is NaN or infinite.
    TypeError
        The model can be ranked in none of these ways.
    """
    model.eval()
    if isinstance(model, SequenceModel):
        item_vectors = encode_items(model, features)
        _require_finite(item_vectors)
        return VectorScores(model, item_vectors, input_length)
    if isinstance(model, HybridOfRuns):
        item_vectors = encode_items(model, features)
        _require_finite(item_vectors)
        return HybridScores(model, item_vectors, input_length)
    if isinstance(model, TableModel):
        user_vectors, item_vectors = model.propagate()
        _require_finite(item_vectors)
        return TableScores(user_vectors, item_vectors)
    if isinstance(model, CountingModel):
        return CountedScores(model)
    raise TypeError(
        f"expected a SequenceModel, a TableModel or a CountingModel, got {type(model).__name__}"
    )


def _require_finite(item_vectors: Tensor) -> None:
    if not bool(torch.isfinite(item_vectors).all()):
        raise StoreIntegrityError(
            "expected finite item vectors, found NaN or infinity: the weights of the run, or what it"
            " reads, are damaged",
            remedy="crossan models rollback",
        )
