"""A registered run, opened for answers on the data as they are now."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from crossan.cache_schema.errors import IncompatibleError, UsageError
from crossan.cache_schema.item_id import id_fault, named
from crossan.common.datasets import KeptSequences
from crossan.common.stores import open_store
from crossan.train.features import Placement
from crossan.train.features.sources import keep_served
from crossan.train.models.recommender import TableModel
from crossan.train.record.checkpoint import load_weights
from crossan.train.record.dataset_lock import changed_sequences, sequence_facts
from crossan.train.record.run_folder import RunFolder
from crossan.train.runs.inputs import open_inputs
from crossan.train.runs.opening import assemble, carried_weights
from crossan.train.runs.raw_serving import serve_media
from crossan.train.service.recommender.catalogue import with_unseen_items
from crossan.train.service.recommender.histories import Histories
from crossan.train.service.recommender.new_items import best_with_new
from crossan.train.service.recommender.ranking import Best, Query, Scores, TableScores, scores_of
from crossan.train.settings import RunSettings

__all__ = ["Answering", "open_answering"]

_SHOWN = 5
"""Unknown items that a message names."""
_TRAIN_AGAIN = "Train again, on the data as they are now: crossan triggers run NAME"
_NO_ROWS = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Answering:
    """A run with everything that an answer takes, for one state of the data."""

    settings: RunSettings
    kept: KeptSequences
    item_rows: dict[str, int]
    """Row of each item of the catalogue."""
    titles: Sequence[str | None]
    histories: Histories
    scores: Scores
    is_new: torch.Tensor
    """Which items of the catalogue nobody had in training, ``(items,)`` bool."""
    state: str
    """Which data it was opened on, as `crossan.train.service.recommender.watching` tells it."""

    def query(self, request: dict[str, Any]) -> tuple[Query, list[str]]:
        """Return a request as rows of the catalogue, and the items that it does not hold.

        Raises
        ------
        UsageError
            No such user, no item of the catalogue, or a model that must be told a user.
        """
        top, is_masked = int(request["top"]), request["mask_history"] == "all"
        new = int(request.get("new", 0))
        if request.get("user") is not None:
            user = str(request["user"])
            history = self.histories.of(user)
            masked = history.had if is_masked else _NO_ROWS
            return Query(history.read, masked, top, self._user_row(user), new), []
        rows, unknown = self._rows(request.get("history") or [])
        if isinstance(self.scores, TableScores):
            raise UsageError(
                f"history: expected a user, as {self.settings.model.kind} has a vector for every"
                " user that it was trained on and makes none of a history",
                remedy="Name a user in place of the history: user",
            )
        return Query(rows, rows if is_masked else _NO_ROWS, top, new=new), unknown

    def answers(self, queries: Sequence[Query]) -> list[list[dict[str, Any]]]:
        """Return the items of each query, the best first."""
        return [self._items(best) for best in best_with_new(self.scores, queries, self.is_new)]

    def _items(self, best: Best) -> list[dict[str, Any]]:
        return [
            {"item_id": str(self.kept.item_ids[row]), "title": self.titles[row], "score": score}
            for row, score in zip(best.rows, best.scores, strict=True)
        ]

    def _user_row(self, user: str) -> int | None:
        """Return a user's row among the run's, for a model that has a vector for each."""
        if not isinstance(self.scores, TableScores):
            return None
        users = self.kept.user_ids
        row = int(np.searchsorted(users, user))
        if row == len(users) or users[row] != user:
            raise UsageError(
                f"user {named(user)}: expected one of the {len(users):,} users that"
                f" {self.settings.model.kind} was trained on, which has a vector for each",
                remedy=_TRAIN_AGAIN,
            )
        return row

    def _rows(self, items: Sequence[str]) -> tuple[npt.NDArray[np.int64], list[str]]:
        """Return the rows of some items, and those that the catalogue does not hold."""
        rows = [self.item_rows.get(item) for item in items]
        unknown = [item for item, row in zip(items, rows, strict=True) if row is None]
        if len(unknown) == len(items):
            raise UsageError(
                f"history: expected at least one item of the {len(self.item_rows):,} that the model"
                f" in production knows, found {self._described(unknown)}",
                remedy="Name an item of the dataset's",
            )
        known = [row for row in rows if row is not None]
        return np.array(known, dtype=np.int64), unknown

    def _described(self, unknown: Sequence[str]) -> str:
        if not unknown:
            return "none named"
        shown = ", ".join(named(item) for item in unknown[:_SHOWN])
        close = None
        if id_fault(unknown[0], "an item id") is None:
            names = list(self.item_rows)[:10_000]
            close = next(iter(difflib.get_close_matches(unknown[0], names, n=1)), None)
        return shown if close is None else f"{shown}; did you mean '{close}'?"


def open_answering(path: Path, state: str) -> Answering:
    """Open a run on its dataset and stores as they are now.

    Its stores are read at their newest versions. Items that these do not serve yet are left out
    until they do, and items that nobody has had yet are in, where the model knows them by content.

    Parameters
    ----------
    path
        The run folder.
    state
        Which state of the data this is.

    Raises
    ------
    CrossanError
        The dataset or a store is gone, or the weights are damaged.
    """
    inputs = open_inputs(RunFolder(path), None, None)
    settings = inputs.settings
    stores = {modality: open_store(store.path) for modality, store in inputs.stores.items()}
    # Whoever wants an answer now is not helped by an error about an item that comes later.
    lenient = settings.data.model_copy(update={"drop_items": True})
    if settings.model.reads_media:
        lenient_settings = settings.model_copy(update={"data": lenient})
        served = serve_media(lenient_settings, inputs.dataset)
    else:
        served = keep_served(inputs.dataset, stores, lenient)
    changed = changed_sequences(path, sequence_facts(served.kept))
    served = with_unseen_items(served, inputs.dataset, settings)
    run = assemble(
        settings,
        RunFolder(path),
        inputs.dataset,
        (served, {}),
        torch.device("cpu"),
        Placement("streamed") if settings.model.reads_hidden_states else Placement(),
        is_training=False,
    )
    if changed is not None and isinstance(run.model, TableModel):
        raise IncompatibleError(
            f"{path}: expected the data that it was trained on, as {settings.model.kind} has a"
            f" vector for every user: {changed}",
            remedy=_TRAIN_AGAIN,
        )
    weights = RunFolder(path).best_checkpoint().tensors["model"]
    load_weights(run.model, carried_weights(run, weights), str(path))
    item_ids = run.kept.item_ids
    items = inputs.dataset.items()
    titles = dict(zip(items["item_id"].to_pylist(), items["title"].to_pylist(), strict=True))
    data = settings.data
    return Answering(
        settings=settings,
        kept=run.kept,
        item_rows={item: row for row, item in enumerate(item_ids.tolist())},
        titles=[titles.get(item) for item in item_ids.tolist()],
        histories=Histories(
            inputs.dataset.interactions(),
            item_ids,
            data.max_items if data.parted_by.is_by_time else None,
        ),
        scores=scores_of(run.model, run.features, data.input_length),
        is_new=replace(run, is_changed=changed is not None).new_items(1).is_new,
        state=state,
    )
