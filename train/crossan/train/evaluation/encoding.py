"""From a model to the ranks of held-out items over the whole catalogue."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import Event
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from crossan.cache_schema.errors import StoreIntegrityError, UsageError
from crossan.common.console import progress
from crossan.common.memory import naming_shortage
from crossan.train.evaluation.hybrid import hybrid_ranker_maker
from crossan.train.evaluation.ranker import CountRanker, HasHistory, Ranker, VectorRanker
from crossan.train.evaluation.ranking import ranks_by_counting
from crossan.train.evaluation.user_vectors import encode_users
from crossan.train.features import ItemInputs
from crossan.train.features.prefetch import prepared_ahead
from crossan.train.models.hybrid_of_runs import HybridOfRuns
from crossan.train.models.popularity import Popularity
from crossan.train.models.recommender import CountingModel, TableModel
from crossan.train.models.sequence_model import SequenceModel
from crossan.train.record.encoded_items import EncodedItems
from crossan.train.sequences.splits import TestSplit, ValidationSplit, users_of_split
from crossan.train.settings import HistoryMask

__all__ = [
    "ITEMS_PER_BLOCK",
    "EvaluationStoppedError",
    "MayBeOfTheRun",
    "encode_items",
    "make_rankers",
    "popularity_ranks",
    "ranker_maker",
    "table_ranker_maker",
    "target_ranks",
    "target_ranks_in_blocks",
    "users_at_once",
]

ITEMS_PER_BLOCK = 1024
"""Items encoded at a time; another cut rounds otherwise."""
_USER_VECTOR_BYTES = 8 << 20
"""Size of the user vectors that `target_ranks_in_blocks` holds at a time."""


@runtime_checkable
class MayBeOfTheRun(Protocol):
    """Users of whom it is known which of the run's they are, or that they are none of them."""

    @property
    def rows(self) -> Tensor | None:
        """Rows among the users of the run, ``(users,)``; None for others."""


class EvaluationStoppedError(Exception):
    """The process was told to end while it evaluated."""


@naming_shortage("encoding the items")
@torch.inference_mode()
def encode_items(
    model: SequenceModel | HybridOfRuns,
    features: ItemInputs,
    told_to_end: Event | None = None,
    kept: EncodedItems | None = None,
) -> Tensor:
    """Return the item vectors of the whole catalogue, ``(items, width)``.

    Parameters
    ----------
    model, features
        What encodes, and what it reads.
    told_to_end
        Ends the encoding where it is set.
    kept
        What an encoding that was cut short has left, from which this one goes on, and which keeps
        the rows of this one.

    Raises
    ------
    EvaluationStoppedError
        ``told_to_end`` was set meanwhile.
    """
    model.eval()
    item_count = len(features.presence)
    vectors = None if kept is None else kept.take()
    done = 0 if vectors is None else len(vectors) // ITEMS_PER_BLOCK * ITEMS_PER_BLOCK
    blocks = torch.arange(item_count).split(ITEMS_PER_BLOCK)[done // ITEMS_PER_BLOCK :]
    whole = None if vectors is None else _room(vectors.to(features.presence.device), item_count)
    with (
        progress("encode items", item_count - done, "items") as shown,
        prepared_ahead(blocks, features.fetch) as ahead,
    ):
        for block, fetched in zip(blocks, ahead, strict=True):
            first = int(block[0])
            if told_to_end is not None and told_to_end.is_set():
                if kept is not None and whole is not None:
                    kept.keep(whole[:first], is_last=True)
                raise EvaluationStoppedError
            encoded = model.item_vectors(fetched, block.to(features.presence.device))
            # Room for all at once: joining the blocks in the end would take it twice.
            whole = _room(encoded[:0], item_count) if whole is None else whole
            whole[first : first + len(block)] = encoded
            if kept is not None:
                kept.keep(whole[: first + len(block)])
            shown.advance(len(block))
    if kept is not None:
        kept.forget()
    assert whole is not None  # a catalogue has items
    return whole


def _room(first: Tensor, item_count: int) -> Tensor:
    """Return room for the vectors of all items, of which the first are there."""
    whole = first.new_empty((item_count, first.shape[1]))
    whole[: len(first)] = first
    return whole


def make_rankers(
    model: nn.Module, features: ItemInputs, readers: Mapping[str, HasHistory]
) -> dict[str, Ranker]:
    """Return a ranker for every group of users, by name.

    Item vectors are encoded once for all groups.

    Parameters
    ----------
    model, features
        The model and what it reads.
    readers
        Groups of users by name, for example the validation and the test part.

    Raises
    ------
    TypeError
        The model can be ranked in none of these ways.
    StoreIntegrityError
        An item vector is NaN or infinite.
    """
    make = ranker_maker(model, features)
    return {name: make(users) for name, users in readers.items()}


def ranker_maker(model: nn.Module, features: ItemInputs) -> Callable[[HasHistory], Ranker]:
    """Return a function that makes a ranker of any group of users.

    Item vectors are encoded here, once. So one group after another can be
    ranked in the memory that one of them takes.

    Raises
    ------
    TypeError
        The model can be ranked in none of these ways.
    StoreIntegrityError
        An item vector is NaN or infinite.
    """
    if isinstance(model, SequenceModel):
        item_vectors = encode_items(model, features)
        _require_finite(item_vectors)
        return lambda users: VectorRanker(
            encode_users(model, item_vectors, users.inputs), item_vectors
        )
    if isinstance(model, HybridOfRuns):
        item_vectors = encode_items(model, features)
        _require_finite(item_vectors)
        return hybrid_ranker_maker(model, item_vectors)
    if isinstance(model, TableModel):
        return table_ranker_maker(model)
    if isinstance(model, CountingModel):
        return lambda users: CountRanker(model, users.histories)
    raise TypeError(
        f"expected a SequenceModel, a TableModel or a CountingModel, got {type(model).__name__}"
    )


@torch.inference_mode()
def table_ranker_maker(model: TableModel) -> Callable[[HasHistory], Ranker]:
    """Return what `ranker_maker` does, for a model that propagates once for all users.

    Raises
    ------
    StoreIntegrityError
        A vector is NaN or infinite.
    """
    if isinstance(model, nn.Module):
        model.eval()
    user_vectors, item_vectors = model.propagate()
    _require_finite(item_vectors)

    def make(users: HasHistory) -> Ranker:
        rows = _rows_of(users, len(user_vectors)).to(user_vectors.device)
        return VectorRanker(user_vectors[rows], item_vectors)

    return make


def _rows_of(users: HasHistory, user_count: int) -> Tensor:
    """Return the users' rows in a table with a vector for each of them."""
    if not isinstance(users, MayBeOfTheRun):
        return torch.arange(user_count)  # a split has all users of the run, in order
    if users.rows is None:
        raise UsageError(
            "a history: expected a user that the run was trained on, as its model has a vector for"
            " each of these and makes none of a history",
            remedy="Name one of them: crossan recommend RUN --user USER, or user=USER in Python",
        )
    return users.rows


def _require_finite(item_vectors: Tensor) -> None:
    """Refuse to rank by vectors of which no score means anything."""
    broken = int((~torch.isfinite(item_vectors).all(dim=1)).sum())
    if broken:
        raise StoreIntegrityError(
            f"expected finite item vectors, found {broken:,} of {len(item_vectors):,} with NaN or"
            " infinity: the weights of the run, or what it reads, are damaged"
        )


def target_ranks(
    ranker: Ranker, split: ValidationSplit | TestSplit, mask_history: HistoryMask
) -> Tensor:
    """Return the 1-based rank of every target, ``(targets,)`` on the CPU."""
    targets, users = split.targets.to(ranker.device), split.users.to(ranker.device)
    return ranks_by_counting(ranker, targets, split.histories, mask_history, users).cpu()


def users_at_once(item_vectors: Tensor) -> int:
    """Return how many users `target_ranks_in_blocks` has the vectors of at a time."""
    return max(1, _USER_VECTOR_BYTES // (item_vectors[:1].nbytes or 1))


def target_ranks_in_blocks(
    model: SequenceModel,
    item_vectors: Tensor,
    split: ValidationSplit | TestSplit,
    mask_history: HistoryMask,
) -> Tensor:
    """Return the ranks of `target_ranks` with few user vectors at a time.

    However many users there are, it takes the memory of some of them.

    Parameters
    ----------
    model
        It encodes the users.
    item_vectors
        Those of the whole catalogue, ``(items, width)``.
    split, mask_history
        As for `target_ranks`.
    """
    step = users_at_once(item_vectors)
    parts = [torch.zeros(0, dtype=torch.int64)]
    for first in range(0, len(split.inputs), step):
        part = users_of_split(split, slice(first, first + step))
        ranker = VectorRanker(encode_users(model, item_vectors, part.inputs), item_vectors)
        parts.append(target_ranks(ranker, part, mask_history))
    return torch.cat(parts)


def popularity_ranks(
    counts: np.ndarray, split: ValidationSplit | TestSplit, mask_history: HistoryMask
) -> Tensor:
    """Return the ranks when every user is shown the most popular items.

    Items of equal count tie.
    """
    return target_ranks(CountRanker(Popularity(counts), split.histories), split, mask_history)
