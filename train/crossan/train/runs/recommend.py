"""The items a trained run would show a user next."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from crossan.cache_schema.errors import UsageError
from crossan.cache_schema.item_id import id_fault, named
from crossan.train.evaluation.best import best_items
from crossan.train.evaluation.encoding import ranker_maker
from crossan.train.runs.opening import OpenedRun
from crossan.train.runs.shortage import evaluation_shortage_explained
from crossan.train.sequences.splits import pad_left

__all__ = ["Readers", "history_of_items", "history_of_user", "recommend_items", "row_of_user"]


def history_of_user(run: OpenedRun, user: str) -> np.ndarray:
    """Return a user's whole kept sequence, the test item included, as catalogue rows.

    Raises
    ------
    UsageError
        No such user, or one with too few interactions.
    """
    return run.kept.sequence(row_of_user(run, user, "--user"))


def row_of_user(run: OpenedRun, user: str, given_by: str) -> int:
    """Return the place of a user among the run's.

    Parameters
    ----------
    run
        The run.
    user
        The user's id.
    given_by
        What named it, as the error begins: ``--user``, or a file and a line with a colon.

    Raises
    ------
    UsageError
        No such user, or one with too few interactions.
    """
    # Before NumPy gives every user the width of this one to compare them.
    fault = id_fault(user, "a user id")
    if fault is not None:
        raise UsageError(f"{given_by.removesuffix(':')}: {fault}")
    users = run.kept.user_ids
    row = int(np.searchsorted(users, user))
    if row == len(users) or users[row] != user:
        close = difflib.get_close_matches(user, users[:10_000].tolist(), n=1)
        hint = f"; did you mean '{close[0]}'?" if close else ""
        raise UsageError(
            f"{given_by} {user}: not among the run's {len(users):,} users (those with at least"
            f" {run.settings.data.min_items} interactions){hint}"
        )
    return row


def history_of_items(run: OpenedRun, text: str) -> np.ndarray:
    """Return ``a,b,c``, oldest first, as catalogue rows.

    Raises
    ------
    UsageError
        No item, or one that is not in the catalogue.
    """
    names = [name.strip(" ") for name in text.split(",") if name.strip(" ")]
    known = {str(item): row for row, item in enumerate(run.kept.item_ids)}
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        shown = ", ".join(named(name) for name in unknown[:5])
        raise UsageError(
            f"--history {named(text)}: not in the catalogue of {len(known):,} items:"
            f" {shown or 'nothing named'}"
        )
    return np.array([known[name] for name in names], dtype=np.int64)


def recommend_items(
    run: OpenedRun, history: np.ndarray, top: int, user: str | None = None, new: int = 0
) -> list[dict[str, Any]]:
    """Return the ``top`` best-scored items that the history does not hold.

    The best come first; of items with equal scores the earlier item id.

    Parameters
    ----------
    run
        The run.
    history
        Catalogue rows, oldest first.
    top
        Items at most.
    user
        Whose history it is, for a model that has a vector for each user.
    new
        Items that nobody had in training, of which the list has so many at least.

    Raises
    ------
    UsageError
        The model has such vectors, and no user is named or none of the run's.
    """
    users = None if user is None else [row_of_user(run, user, "--user")]
    with evaluation_shortage_explained(run, "a recommendation"):
        make = ranker_maker(run.model, run.features)
        ranker = make(Readers.of(run, [history], users))
        rows, scores = best_items(ranker, [history], top, run.new_items(new))
    items = run.dataset.items().select(["item_id", "title"]).to_pylist()
    titles = {row["item_id"]: row["title"] for row in items}
    chosen = [
        (str(run.kept.item_ids[row]), score)
        for row, score in zip(rows[0].tolist(), scores[0].tolist(), strict=True)
        if row >= 0
    ]
    return [{"item_id": item, "score": score, "title": titles.get(item)} for item, score in chosen]


class Readers(NamedTuple):
    """Some users by their histories, as a ranker reads them."""

    inputs: Tensor
    histories: Sequence[np.ndarray]
    rows: Tensor | None = None
    """Rows among the users of the run, ``(users,)``; None for others."""

    @classmethod
    def of(
        cls,
        run: OpenedRun,
        histories: Sequence[np.ndarray],
        users: Sequence[int] | np.ndarray | None = None,
    ) -> Readers:
        """Return the users of some histories, catalogue rows each, oldest first.

        Which of the run's they are is told by ``users``.
        """
        rows = None if users is None else torch.as_tensor(np.asarray(users, dtype=np.int64))
        return cls(pad_left(histories, run.settings.data.input_length), histories, rows)
