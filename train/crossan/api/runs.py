"""Trained runs from Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from crossan.api.errors import UsageError
from crossan.api.identifiers import whole_number
from crossan.api.opened import OpenedModel, array, metrics_table
from crossan.train.record.run_folder import RunFolder

if TYPE_CHECKING:
    import pyarrow as pa

    from crossan.common.history_mask import HistoryMask

__all__ = ["Run"]


class Run:
    """A run folder and what can be asked of its model, as `open_run` and `train` give it.

    Histories are item ids, oldest first. The model reads the last ten of them,
    or as many as ``data.max_items`` leaves, and recommends nothing that is in one.

    Examples
    --------
    >>> run.model, run.modalities, run.settings["model"]["width"]
    ('crossan', ('text', 'image'), 16)
    >>> run.items[:2], run.users[0]
    (['i00', 'i01'], 'u000')
    >>> run.metrics.column_names[:3], sorted(run.result["test"])[:2]
    (['epoch', 'loss', 'hr@5'], ['hr@10', 'hr@20'])
    """

    def __init__(self, folder: RunFolder, opened: OpenedModel) -> None:
        self._folder, self._opened = folder, opened

    def __repr__(self) -> str:
        """Return the model and the folder."""
        is_finished = self.result is not None
        return f"<Run {self.model} at {self.path}{'' if is_finished else ', not finished'}>"

    @property
    def path(self) -> Path:
        """The run folder."""
        return self._folder.path

    @property
    def model(self) -> str:
        """Kind of the model that was trained."""
        return self._folder.settings().model.kind

    @property
    def settings(self) -> dict[str, Any]:
        """Every setting of the run by group, as ``config.toml`` has them."""
        return self._folder.settings().model_dump(mode="json")

    @property
    def result(self) -> dict[str, Any] | None:
        """The figures of ``result.json``, None before the run is finished."""
        return self._folder.result()

    @property
    def metrics(self) -> pa.Table:
        """A row for each epoch: ``epoch``, ``loss``, and the validation metrics by name."""
        return metrics_table(self._folder)

    @property
    def items(self) -> list[str]:
        """The ids of the catalogue, in the order of `item_vectors` and `scores`."""
        ids: list[str] = self._opened.run.kept.item_ids.tolist()
        return ids

    @property
    def users(self) -> list[str]:
        """The ids of the users that the run has learned from, sorted."""
        ids: list[str] = self._opened.run.kept.user_ids.tolist()
        return ids

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities that the model reads, in the order of `gates` and `expert_weights`."""
        return tuple(modality.value for modality in self._opened.run.features.modalities)

    def history(self, user: str) -> list[str]:
        """Return a user's kept items, oldest first, the test target included.

        Raises
        ------
        UnknownIdError
            No such user in the run.

        Examples
        --------
        >>> len(run.history("u001"))
        6
        """
        kept = self._opened.run.kept
        items: list[str] = kept.item_ids[kept.sequence(self._opened.user_row(user))].tolist()
        return items

    def item_vectors(self) -> npt.NDArray[np.float32]:
        """Return the vectors of all `items`, ``(items, width)`` float32.

        Raises
        ------
        UsageError
            The model ranks by counts and has no vectors, or is a hybrid of runs: ask those.

        Examples
        --------
        >>> run.item_vectors().shape
        (40, 16)
        """
        return array(self._opened.item_vectors)

    def user_vectors(self, histories: Sequence[object]) -> npt.NDArray[np.float32]:
        """Return a vector for each history, ``(histories, width)`` float32.

        The score of an item is the product of its vector and the user's.

        Raises
        ------
        UnknownIdError
            An item is not in the catalogue.
        UsageError
            The model has no vectors, is a hybrid of runs, or a history is empty.

        Examples
        --------
        >>> run.user_vectors([["i01", "i02"], ["i31"]]).shape
        (2, 16)
        """
        from crossan.train.runs.vectors import user_vectors

        rows = self._opened.rows_of_histories(histories)
        return array(user_vectors(self._opened.run, rows, items=self._opened.item_vectors))

    def scores(self, history: object = None, *, user: str | None = None) -> npt.NDArray[np.float32]:
        """Return the score of every item of `items`, ``(items,)`` float32.

        It is that after a history, or for a user of the run. Nothing is left out: items of the
        history have a score, too. Parameters and errors are those of `recommend`.

        Examples
        --------
        >>> run.scores(["i01", "i02"]).shape
        (40,)
        """
        return self._opened.scores(self._opened.reader(history, user))

    def recommend(
        self, history: object = None, *, user: str | None = None, top: int = 10, new: int = 0
    ) -> pa.Table:
        """Return the best items after a history, or for a user of the run.

        The table has ``rank`` from 1, ``item_id``, ``score`` and ``title``. Items of
        the history are left out; of items with equal scores the earlier id comes first.

        Parameters
        ----------
        history
            Item ids, oldest first.
        user
            A user of the run instead. `vbpr` has a vector for each of them, and takes no history.
        top
            How many items.
        new
            Items that nobody had in training, of which there are so many at least: where the list
            has fewer, the best of the others take the places of the last items that are not new.

        Raises
        ------
        UnknownIdError
            No such user, or an item that is not in the catalogue.
        UsageError
            Both or neither of history and user, an empty history, or one for such a model.

        Examples
        --------
        >>> run.recommend(["i01", "i02"], top=3).column_names
        ['rank', 'item_id', 'score', 'title']
        >>> run.recommend(user="u001", top=5).num_rows
        5
        """
        top = whole_number(top, "top")
        least = whole_number(new, "new") if new else 0
        if least > top:
            raise UsageError(f"expected new to be at most top, {top}, got {least}")
        return self._opened.best(self._opened.reader(history, user), top, least)

    def similar(self, item_id: str, *, top: int = 10) -> pa.Table:
        """Return the items whose vectors are nearest to that of an item, by their cosine.

        The table has ``rank`` from 1, ``item_id``, ``similarity`` and ``title``.

        Raises
        ------
        UnknownIdError
            The item is not in the catalogue.
        UsageError
            The model ranks by counts and has no vectors, is a hybrid of runs, or ``top`` is less
            than 1.

        Examples
        --------
        >>> run.similar("i01", top=2).column_names
        ['rank', 'item_id', 'similarity', 'title']
        """
        (row,) = self._opened.rows([item_id])
        return self._opened.nearest(int(row), whole_number(top, "top"))

    def gates(self) -> npt.NDArray[np.float32]:
        """Return the weights of the gates (Eq. 5), ``(modality, layer, modality + 1)``.

        They are those of an item that has every modality. The last weight is that of
        the backbone's hidden state, and the weights of a gate sum to one.

        Raises
        ------
        UsageError
            The model has no gates.

        Examples
        --------
        >>> run.gates().shape
        (2, 2, 3)
        """
        return self._opened.gates()

    def expert_weights(self, item_ids: object = None) -> npt.NDArray[np.float32]:
        """Return how much of each modality MOMEF takes for items (Eq. 6), ``(items, modality)``.

        A modality that is not among an item's chosen ones weighs 0; the weights of an
        item sum to one.

        Parameters
        ----------
        item_ids
            Items of the catalogue; by default all `items`.

        Raises
        ------
        UnknownIdError
            An item is not in the catalogue.
        UsageError
            The model's fusion is none that chooses.

        Examples
        --------
        >>> run.expert_weights(["i01", "i02"]).shape
        (2, 2)
        """
        from crossan.train.runs.vectors import expert_weights

        weights = expert_weights(self._opened.run)
        if item_ids is None:
            return array(weights)
        return array(weights)[self._opened.rows(item_ids)]

    def evaluate(self, mask_history: HistoryMask | None = None) -> dict[str, Any]:
        """Rank the validation and test targets again and return the figures.

        Parameters
        ----------
        mask_history
            Which of a user's items are left out of the ranking: ``all``, ``unseen-only`` or
            ``none``; by default as the run was trained.

        Raises
        ------
        UsageError
            Another mask.

        Examples
        --------
        >>> run.evaluate()["test"] == run.result["test"]
        True
        """
        return self._opened.evaluate(mask_history)
