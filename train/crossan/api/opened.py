"""The model of a run with its data, opened when it is first needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import numpy.typing as npt

from crossan.api.errors import UsageError
from crossan.api.identifiers import rows_of, sequence_of
from crossan.common.history_mask import HistoryMask

if TYPE_CHECKING:
    import pyarrow as pa
    import torch

    from crossan.train.record.run_folder import RunFolder
    from crossan.train.runs.opening import OpenedRun
    from crossan.train.runs.recommend import Readers

__all__ = ["OpenedModel", "Place", "array", "metrics_table"]

_SMALLEST = 1e-30
"""Lengths of vectors below this are none: a vector of zeros is near to nothing."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run's data lie, and where it computes."""

    dataset: Path | None = None
    cache: Path | None = None
    device: str = "auto"
    may_be_stale: bool = False


class OpenedModel:
    """A run's model, its stores and its dataset.

    Parameters
    ----------
    path
        The run folder.
    place
        Where its data lie.
    parts
        Code of the user's own that the run was trained with, by its name.
    """

    def __init__(self, path: Path, place: Place, parts: Mapping[str, object]) -> None:
        self._path, self._place, self._parts = path, place, parts

    @cached_property
    def run(self) -> OpenedRun:
        """The run with its weights, its dataset and its stores."""
        from crossan.common.code_names import using_code
        from crossan.train.runs.opening import open_run

        with using_code(self._parts):
            return open_run(
                self._path,
                device=self._place.device,
                may_be_stale=self._place.may_be_stale,
                dataset=self._place.dataset,
                cache=self._place.cache,
            )

    @cached_property
    def item_vectors(self) -> torch.Tensor:
        """The vectors of the catalogue, ``(items, width)``."""
        from crossan.train.runs.vectors import item_vectors

        return item_vectors(self.run)

    def rows(self, item_ids: object) -> npt.NDArray[np.int64]:
        """Return the catalogue rows of item ids, ``(n,)``."""
        return rows_of(item_ids, self.run.kept.item_ids, "item", f"the run {self._path}")

    def rows_of_histories(self, histories: object) -> list[npt.NDArray[np.int64]]:
        """Return the catalogue rows of each of some histories."""
        what = "histories, each a list of item ids"
        given = sequence_of(histories, what)
        if any(isinstance(one, str | bytes) for one in given):
            raise UsageError(f"expected a sequence of {what}, got {histories!r:.200}")
        return [self.rows(history) for history in given]

    def user_row(self, user: str) -> int:
        """Return the place of a user among the run's."""
        (row,) = rows_of([user], self.run.kept.user_ids, "user", f"the run {self._path}")
        return int(row)

    def reader(self, history: object, user: str | None) -> Readers:
        """Return one reader, of whom a history or the id is given."""
        from crossan.train.runs.recommend import Readers

        if (history is None) == (user is None):
            raise UsageError("expected one of history and user, got both or neither")
        if user is not None:
            row = self.user_row(user)
            return Readers.of(self.run, [self.run.kept.sequence(row)], [row])
        rows = self.rows(history)
        if not len(rows):
            raise UsageError("expected a history of at least one item, got none")
        return Readers.of(self.run, [rows])

    def scores(self, reader: Readers) -> npt.NDArray[np.float32]:
        """Return the score of every item for one reader, ``(items,)``."""
        import torch

        ranker = self._make_ranker(reader)
        with torch.inference_mode():
            users = torch.zeros(1, dtype=torch.int64, device=ranker.device)
            return array(ranker.scores(users, slice(0, ranker.item_count))[0].clone())

    def best(self, reader: Readers, top: int, new: int) -> pa.Table:
        """Return the best items for one reader that are not in the history."""
        from crossan.train.evaluation.best import best_items

        new_items = self.run.new_items(new)
        best, scores = best_items(self._make_ranker(reader), reader.histories, top, new_items)
        is_item = best[0].numpy() >= 0
        return self._table("score", best[0].numpy()[is_item], scores[0].numpy()[is_item])

    def nearest(self, row: int, top: int) -> pa.Table:
        """Return the items whose vectors are nearest to that of one item."""
        cosines = self._cosines(row)
        order = np.argsort(-cosines, kind="stable")[: min(top, len(cosines) - 1)]
        return self._table("similarity", order, cosines[order])

    def gates(self) -> npt.NDArray[np.float32]:
        """Return the weights of the gates, ``(modality, layer, modality + 1)``."""
        encoder = getattr(self.run.model, "item_encoder", None)
        towers = getattr(encoder, "towers", None)
        if towers is None or not hasattr(towers, "gate_weights"):
            kind = self.run.settings.model.kind
            raise UsageError(f"{self._path}: expected a model with gates, got {kind}")
        return array(towers.gate_weights())

    def evaluate(self, mask_history: HistoryMask | None) -> dict[str, Any]:
        """Rank all targets again."""
        from crossan.train.runs.training import evaluate_run

        chosen = mask_history or self.run.settings.mask_history
        if chosen not in get_args(HistoryMask):
            masks = ", ".join(get_args(HistoryMask))
            raise UsageError(f"expected mask_history to be one of {masks}, got {chosen!r:.200}")
        return evaluate_run(self.run, chosen)

    def _cosines(self, row: int) -> npt.NDArray[np.float32]:
        """Return the cosine of each item's vector to that of one item, ``(items,)``.

        Its own is -inf.
        """
        vectors = array(self.item_vectors)
        lengths = np.linalg.norm(vectors, axis=1)
        cosines: npt.NDArray[np.float32] = vectors @ vectors[row]
        cosines /= np.maximum(lengths * lengths[row], _SMALLEST)
        cosines[row] = -np.inf
        return cosines

    def _table(self, measure: str, rows: np.ndarray, values: np.ndarray) -> pa.Table:
        """Return items in order with their rank, a measure and their title."""
        import pyarrow as pa

        ids = self.run.kept.item_ids[rows].tolist()
        return pa.table(
            {
                "rank": pa.array(range(1, len(ids) + 1), pa.int32()),
                "item_id": pa.array(ids, pa.string()),
                measure: pa.array(values.astype(np.float32)),
                "title": pa.array([self._titles.get(item) for item in ids], pa.string()),
            }
        )

    @cached_property
    def _make_ranker(self) -> Any:  # noqa: ANN401 - a function of a module that loads torch
        from crossan.train.evaluation.encoding import ranker_maker

        return ranker_maker(self.run.model, self.run.features)

    @cached_property
    def _titles(self) -> dict[str, str | None]:
        items = self.run.dataset.items()
        ids, titles = (items.column(name).to_pylist() for name in ("item_id", "title"))
        return dict(zip(ids, titles, strict=True))


def metrics_table(folder: RunFolder) -> pa.Table:
    """Return a row for each epoch of a run folder."""
    import pyarrow as pa

    rows = [
        {"epoch": line["epoch"], "loss": line.get("loss"), **(line.get("valid") or {})}
        for line in folder.metrics()
    ]
    return pa.Table.from_pylist(rows)


def array(tensor: torch.Tensor) -> npt.NDArray[np.float32]:
    """Return a tensor as float32 in memory."""
    values: npt.NDArray[np.float32] = tensor.detach().float().cpu().numpy()
    return values
