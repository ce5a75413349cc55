"""The figures of ``result.json`` and the ranks they come from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor, nn

from crossan.common.console import note
from crossan.common.datasets import KeptSequences
from crossan.common.datasets.protocol import unwinnable_test_targets
from crossan.common.files import replace_durably
from crossan.common.refusals import make_folder
from crossan.common.split import TrainedOn
from crossan.train.evaluation.encoding import make_rankers, popularity_ranks, target_ranks
from crossan.train.evaluation.exposure import exposure_figures
from crossan.train.evaluation.held_out import cold_figures
from crossan.train.evaluation.metrics import CUTOFFS, summarise
from crossan.train.evaluation.ranking import fewest_candidates, top_items
from crossan.train.evaluation.slices import popularity_deciles, test_slices
from crossan.train.features import ItemInputs
from crossan.train.sequences.popularity import training_counts
from crossan.train.sequences.refit import is_trained
from crossan.train.sequences.splits import TestSplit, ValidationSplit, test_split, validation_split
from crossan.train.settings import HistoryMask

__all__ = ["Ranked", "candidate_figures", "figures_of", "rank_everyone", "write_ranks"]

_TOP = 10
"""Length of the lists whose coverage and popularity are measured."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """Where a model ranks every held-out item, and what it would show."""

    kept: KeptSequences
    counts: np.ndarray
    """Training count of each catalogue row, ``(items,)``."""
    splits: Mapping[str, ValidationSplit | TestSplit]
    """``valid`` and ``test``, or ``test`` alone."""
    ranks: Mapping[str, Tensor]
    """1-based ranks ``(targets,)`` by split."""
    shown: np.ndarray
    """Rows of the best-scored items that the test history does not hold, ``(users, 10)``; -1 for
    none."""
    mask_history: HistoryMask


def rank_everyone(
    model: nn.Module,
    features: ItemInputs,
    kept: KeptSequences,
    input_length: int,
    mask_history: HistoryMask,
    trained_on: TrainedOn = "none",
) -> Ranked:
    """Rank the validation and test targets of every user over the whole catalogue.

    Of a refit that was trained on the validation targets, the test targets alone are
    ranked.
    """
    splits: dict[str, ValidationSplit | TestSplit] = {}
    if trained_on == "none":
        splits["valid"] = validation_split(kept.without_test(), input_length)
    splits["test"] = test_split(kept, input_length)
    rankers = make_rankers(model, features, splits)
    ranks = {
        name: target_ranks(rankers[name], split, mask_history) for name, split in splits.items()
    }
    shown = top_items(rankers["test"], splits["test"].histories, _TOP).numpy()
    counts = training_counts(kept.items[is_trained(kept, trained_on)], len(kept.item_ids))
    return Ranked(kept, counts, splits, ranks, shown, mask_history)


def figures_of(ranked: Ranked) -> dict[str, Any]:
    """Return the figures of a model, with those of popularity beside them."""
    kept, counts, splits = ranked.kept, ranked.counts, ranked.splits
    test, ranks = splits["test"], ranked.ranks["test"]
    lengths = np.array([len(history) for history in test.histories], dtype=np.int64)
    slices = test_slices(ranks, kept.test_targets, lengths[kept.test_users], counts, test.users)
    return {
        **{name: summarise(ranked.ranks[name], split.users) for name, split in splits.items()},
        **{
            f"cold_{name}": cold_figures(ranked.ranks[name], split, counts)
            for name, split in splits.items()
        },
        "popularity": {
            name: summarise(popularity_ranks(counts, split, ranked.mask_history), split.users)
            for name, split in splits.items()
        },
        "slices": slices,
        "recommendations": exposure_figures(ranked.shown, test.histories, counts),
        "users": len(kept.user_ids),
        "items": len(kept.item_ids),
        "targets": {name: len(split.targets) for name, split in splits.items()},
        "unwinnable_test_targets": unwinnable_test_targets(kept),
        "mask_history": ranked.mask_history,
        **candidate_figures(splits.values(), len(kept.item_ids), ranked.mask_history),
    }


def candidate_figures(
    splits: Iterable[ValidationSplit | TestSplit], item_count: int, mask_history: HistoryMask
) -> dict[str, Any]:
    """Return how few items a target is ranked among, and the cut-offs that are not below that.

    The metrics at such a cut-off say nothing of a model: whatever is ranked is a
    hit. A line says so.

    Returns
    -------
    dict
        ``fewest_candidates`` and ``cutoffs_reached``, for ``result.json``.
    """
    fewest = min(
        fewest_candidates(item_count, split.targets, split.histories, mask_history, split.users)
        for split in splits
    )
    reached = [k for k in CUTOFFS if k >= fewest]
    if reached:
        note(
            f"cut-offs {', '.join(map(str, reached))} are not below the {fewest:,} items that some"
            " targets are ranked among: whatever the model, these are hits"
        )
    return {"fewest_candidates": fewest, "cutoffs_reached": reached}


def write_ranks(ranked: Ranked, path: Path) -> None:
    """Write one row per user with ranks, targets, and what the slices go by.

    Columns are plain where the split holds out one item per user, and lists where it
    may hold out several. `crossan.train.record.user_ranks` reads both.
    """
    kept, deciles = ranked.kept, popularity_deciles(ranked.counts)
    columns: dict[str, pa.Array] = {}
    for part, split in ranked.splits.items():
        targets = split.targets.numpy()
        of_targets = {
            "rank": pa.array(ranked.ranks[part].numpy()),
            "item_id": pa.array(kept.item_ids[targets].tolist(), pa.string()),
            "is_cold": pa.array(ranked.counts[targets] == 0),
            "training_count": pa.array(ranked.counts[targets]),
            "popularity_decile": pa.array(deciles[targets]),
        }
        if not kept.split.is_by_time:
            starts = np.searchsorted(split.users.numpy(), np.arange(len(kept.user_ids) + 1))
            begins = pa.array(starts, pa.int32())
            of_targets = {
                name: pa.ListArray.from_arrays(begins, values)
                for name, values in of_targets.items()
            }
        columns |= {f"{part}_{name}": values for name, values in of_targets.items()}
        lengths = [len(history) for history in split.histories]
        columns[f"{part}_history_length"] = pa.array(lengths, pa.int64())
    # In this order, as programs of others may read the columns by number.
    first = ("valid_rank", "test_rank", "valid_item_id", "test_item_id")
    order = dict.fromkeys(
        [*first, *(name for name in columns if name.startswith("test")), *columns]
    )
    user_ids = pa.array(kept.user_ids.tolist(), pa.string())
    table = pa.table({"user_id": user_ids, **{name: columns[name] for name in order}})
    make_folder(path.parent)
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer)
    replace_durably(path, buffer.getvalue())
