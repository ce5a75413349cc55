"""The model of a run with its data, opened when it is first needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from crossan.api.errors import UsageError
from crossan.api.identifiers import rows_of

if TYPE_CHECKING:
    import pyarrow as pa
    import torch
    from torch import nn

    from crossan.train.evaluation.ranker import Ranker
    from crossan.train.runs.opening import OpenedRun

__all__ = ["OpenedModel", "Place", "array"]

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

    @property
    def encoder(self) -> nn.Module | None:
        """What makes item vectors of content, None for a model without content."""
        return cast("nn.Module | None", getattr(self.run.model, "item_encoder", None))

    def rows(self, item_ids: object) -> npt.NDArray[np.int64]:
        """Return the catalogue rows of item ids, ``(n,)``."""
        return rows_of(item_ids, self.run.kept.item_ids, "item", f"the run {self._path}")

    def ranker_of(self, history: npt.NDArray[np.int64]) -> Ranker:
        """Return the scores of one user with a history, given as catalogue rows."""
        from crossan.train.runs.recommend import Readers

        if not len(history):
            raise UsageError("expected a history of at least one item, got none")
        ranker: Ranker = self._make_ranker(Readers.of(self.run, [history]))
        return ranker

    def cosines(self, row: int) -> npt.NDArray[np.float32]:
        """Return the cosine of each item's vector to that of one item, ``(items,)``.

        Its own is -inf.
        """
        vectors = array(self.item_vectors)
        lengths = np.linalg.norm(vectors, axis=1)
        cosines: npt.NDArray[np.float32] = vectors @ vectors[row]
        cosines /= np.maximum(lengths * lengths[row], _SMALLEST)
        cosines[row] = -np.inf
        return cosines

    def table(self, measure: str, rows: np.ndarray, values: np.ndarray) -> pa.Table:
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


def array(tensor: torch.Tensor) -> npt.NDArray[np.float32]:
    """Return a tensor as float32 in memory."""
    values: npt.NDArray[np.float32] = tensor.detach().float().cpu().numpy()
    return values
