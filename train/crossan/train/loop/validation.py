"""The validation that ends an epoch."""

from __future__ import annotations

from threading import Event

from crossan.common.console import note
from crossan.train.evaluation.encoding import (
    table_ranker_maker,
    target_ranks,
    target_ranks_in_blocks,
)
from crossan.train.evaluation.metrics import summarise
from crossan.train.evaluation.printing import metric_label
from crossan.train.evaluation.together import encode_items_together
from crossan.train.features import ItemInputs
from crossan.train.loop.saver import TrainingProgress
from crossan.train.models.recommender import TableModel
from crossan.train.models.sequence_model import SequenceModel
from crossan.train.ranks.ranks import Ranks
from crossan.train.record.encoded_items import EncodedItems
from crossan.train.sequences.splits import ValidationSplit
from crossan.train.settings import HistoryMask, RunSettings

__all__ = ["say_epoch", "validate"]


def validate(
    model: SequenceModel | TableModel,
    features: ItemInputs,
    split: ValidationSplit,
    mask_history: HistoryMask,
    ranks: Ranks,
    told_to_end: Event,
    kept: EncodedItems | None = None,
) -> dict[str, float]:
    """Return the metrics of all users' validation targets, the same on every rank.

    ``kept`` is as for `crossan.train.evaluation.encoding.encode_items`.

    Raises
    ------
    EvaluationStoppedError
        A rank was told to end meanwhile.
    """
    if isinstance(model, TableModel):
        ranker = table_ranker_maker(model)(split)
        return summarise(target_ranks(ranker, split, mask_history), split.users)
    item_vectors = encode_items_together(ranks, model, features, told_to_end, kept)

    def figures() -> dict[str, float]:
        ranks = target_ranks_in_blocks(model, item_vectors, split, mask_history)
        return summarise(ranks, split.users)

    # Encoding items is the work: they are shared out, and one rank does the little that is left.
    valid: dict[str, float] = ranks.from_first(figures)
    return valid


def say_epoch(
    settings: RunSettings, reached: TrainingProgress, loss: float, valid: dict[str, float] | None
) -> None:
    """Tell people how an epoch went and how long the rest may take."""
    figures, best = "", ""
    if valid is not None:
        hit_ratio = metric_label("hr@10", settings.data.split).lower()
        figures = f" valid {hit_ratio} {valid['hr@10']:.4f} ndcg@10 {valid['ndcg@10']:.4f},"
        best = f" best epoch {reached.best_epoch},"
    seconds_per_epoch = reached.seconds / reached.epoch
    seconds_left = (settings.max_epochs - reached.epoch) * seconds_per_epoch
    note(
        f"epoch {reached.epoch}/{settings.max_epochs}: loss {loss:.4f},{figures}"
        f" {seconds_per_epoch:.1f} s per epoch,{best} at most {seconds_left:.0f} s left"
    )
