"""The validation that ends an epoch."""

from __future__ import annotations

from threading import Event
from typing import Any

import numpy as np
from torch import nn

from crossan.common.memory import naming_shortage
from crossan.train.evaluation.encoding import (
    table_ranker_maker,
    target_ranks,
    target_ranks_in_blocks,
)
from crossan.train.evaluation.held_out import validation_figures
from crossan.train.evaluation.together import encode_items_together
from crossan.train.features import ItemInputs
from crossan.train.features.raw_inputs import RawInputs
from crossan.train.loop.gradient_sum import weights_digest
from crossan.train.loop.trainable import RefitRun, TrainableRun
from crossan.train.models.recommender import TableModel
from crossan.train.models.sequence_model import SequenceModel
from crossan.train.ranks.ranks import Ranks
from crossan.train.record.encoded_items import EncodedItems
from crossan.train.sequences.popularity import training_counts
from crossan.train.sequences.splits import ValidationSplit, validation_split
from crossan.train.settings import HistoryMask

__all__ = ["Judge", "validate"]


@naming_shortage("a validation")
def validate(
    model: SequenceModel | TableModel,
    features: ItemInputs,
    targets: tuple[ValidationSplit, np.ndarray],
    mask_history: HistoryMask,
    ranks: Ranks,
    told_to_end: Event,
    kept: EncodedItems | None = None,
) -> dict[str, Any]:
    """Return the figures of all users' validation targets, the same on every rank.

    They are those of `crossan.train.evaluation.held_out.validation_figures`, whose split and
    counts are ``targets``. ``kept`` is as for `crossan.train.evaluation.encoding.encode_items`.

    Raises
    ------
    EvaluationStoppedError
        A rank was told to end meanwhile.
    """
    split, counts = targets
    if isinstance(model, TableModel):
        ranker = table_ranker_maker(model)(split)
        return validation_figures(target_ranks(ranker, split, mask_history), split, counts)
    item_vectors = encode_items_together(ranks, model, features, told_to_end, kept)

    def figures() -> dict[str, Any]:
        ranks = target_ranks_in_blocks(model, item_vectors, split, mask_history)
        return validation_figures(ranks, split, counts)

    # Encoding items is the work: they are shared out, and one rank does the little that is left.
    judged: dict[str, Any] = ranks.from_first(figures)
    return judged


class Judge:
    """Ranks the validation targets of a run, if any, at the end of an epoch.

    Parameters
    ----------
    run
        What is trained; a refit has nothing to be judged by.
    ranks
        The processes that train together.
    told_to_end
        Set where a validation is to be cut short.
    """

    def __init__(self, run: TrainableRun | RefitRun, ranks: Ranks, told_to_end: Event) -> None:
        self._run, self._ranks, self._told_to_end = run, ranks, told_to_end
        self._targets: tuple[ValidationSplit, np.ndarray] | None = None
        if isinstance(run, TrainableRun):
            seen = run.seen
            counts = training_counts(seen.training_items, len(seen.item_ids))
            self._targets = validation_split(seen, run.settings.data.input_length), counts

    def figures(self) -> dict[str, Any]:
        """Return what an epoch's line says of the validation targets, by the weights as they are.

        Where there are none, ``valid`` is None.

        Raises
        ------
        EvaluationStoppedError
            A rank was told to end meanwhile.
        """
        if self._targets is None:
            return {"valid": None}
        run, model = self._run, self._run.model
        assert isinstance(model, SequenceModel | TableModel)
        return validate(
            model,
            run.features,
            self._targets,
            run.settings.mask_history,
            self._ranks,
            self._told_to_end,
            self._encoded_items(model),
        )

    def _encoded_items(self, model: nn.Module) -> EncodedItems | None:
        """Return what keeps item vectors of backbones, which take long, None for others."""
        run = self._run
        if not isinstance(run.features, RawInputs) or self._ranks.count > 1:
            return None
        every_seconds = run.settings.checkpoint.every_seconds
        return EncodedItems(run.folder.path, weights_digest(model), every_seconds)
