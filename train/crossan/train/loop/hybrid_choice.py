"""What the terms of a hybrid count, by its validation targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from crossan.common.console import note
from crossan.train.evaluation.hybrid_candidates import HybridTerms
from crossan.train.evaluation.metrics import selection_figure, summarise
from crossan.train.models.hybrid_of_runs import TermWeights
from crossan.train.sequences.splits import ValidationSplit
from crossan.train.settings.run import SelectBy

__all__ = ["CHAIN_WEIGHTS", "COLD_BONUSES", "CONTENT_WEIGHTS", "Choice", "choose_weights"]

CHAIN_WEIGHTS = CONTENT_WEIGHTS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
"""What the chain and the cosine may count, all pairs of which are tried."""
COLD_BONUSES = tuple(number / 2 for number in range(17))
"""What items that nobody had in training may be given, 0 to 8 by halves."""
_MOST_SCORES = 200_000_000
"""Scores of all targets, beyond which evenly spaced users are judged by: 10 thousand users of
20 thousand items, or 200 of a million."""
_TOLERANCE = 1e-12
"""What two equal shares may differ by."""


class Choice(NamedTuple):
    """What was chosen, and what it was chosen from."""

    weights: TermWeights
    facts: dict[str, Any]
    """For the record of the run."""


def choose_weights(
    terms: HybridTerms,
    split: ValidationSplit,
    counts: np.ndarray,
    select_by: SelectBy,
    cold_loss: float,
    *,
    has_content: bool,
) -> Choice:
    """Choose the weights of chain and content by the best figure, and then the bonus of cold items.

    Of equal figures the smaller weights are taken. The bonus is the largest that costs no
    more than ``cold_loss`` of the figure, and of which no smaller one costs more.

    Parameters
    ----------
    terms, split
        The validation targets, and the terms of their scores.
    counts
        How often each catalogue row occurs in training, ``(items,)``.
    select_by
        The figure.
    cold_loss
        How much of the figure the bonus may cost.
    has_content
        Whether there is content to weigh.
    """
    rows = _judged(split, len(counts))
    users, is_cold = split.users[rows], torch.from_numpy(counts == 0)[split.targets[rows]]

    def figures(candidates: Sequence[TermWeights], doing: str) -> list[tuple[float, float]]:
        """Return the figure of each candidate, and HR@10 of the cold targets."""
        return [
            (
                selection_figure(summarise(ranks, users), select_by),
                summarise(ranks[is_cold], users[is_cold])["hr@10"],
            )
            for ranks in terms.ranks(candidates, rows, doing)
        ]

    grid = [
        TermWeights(chain, content)
        for chain, content in product(CHAIN_WEIGHTS, CONTENT_WEIGHTS if has_content else (0.0,))
    ]
    of_grid = figures(grid, "weigh the terms")
    # The first of the best, and the grid goes up.
    best = max(range(len(grid)), key=lambda number: of_grid[number][0])
    weights = grid[best]
    note(
        f"validation {select_by}: {of_grid[0][0]:.4f} by the runs alone, {of_grid[best][0]:.4f}"
        f" with log(1 + {weights.co_occurrence:g} x Markov) and {weights.content:g} x content"
    )
    facts: dict[str, Any] = {
        "judged_by": select_by,
        "targets": len(rows),
        "cold_targets": int(is_cold.sum()),
        "grid": [
            {"co_occurrence": one.co_occurrence, "content": one.content, select_by: figure}
            for one, (figure, _) in zip(grid, of_grid, strict=True)
        ],
    }
    if not facts["cold_targets"]:
        return Choice(weights, {**_words(weights), **facts, "cold_bonuses": []})
    bonuses = [replace(weights, cold_bonus=bonus) for bonus in COLD_BONUSES]
    of_bonuses = figures(bonuses, "weigh the cold items")
    chosen = _last_that_costs_little([figure for figure, _ in of_bonuses], cold_loss)
    note(
        f"cold items: a bonus of {COLD_BONUSES[chosen]:g} takes {select_by} to"
        f" {of_bonuses[chosen][0]:.4f}, HR@10 of {facts['cold_targets']:,} cold targets from"
        f" {of_bonuses[0][1]:.4f} to {of_bonuses[chosen][1]:.4f}"
    )
    facts["cold_bonuses"] = [
        {"cold_bonus": bonus, select_by: figure, "cold hr@10": cold}
        for bonus, (figure, cold) in zip(COLD_BONUSES, of_bonuses, strict=True)
    ]
    return Choice(bonuses[chosen], {**_words(bonuses[chosen]), **facts})


def _words(weights: TermWeights) -> dict[str, float]:
    return {
        "co_occurrence": weights.co_occurrence,
        "content": weights.content,
        "cold_bonus": weights.cold_bonus,
    }


def _last_that_costs_little(figures: Sequence[float], cold_loss: float) -> int:
    """Return the number of the last figure before the first that is lower by more."""
    is_cheap = [figures[0] - figure <= cold_loss + _TOLERANCE for figure in figures]
    return ([*is_cheap, False]).index(False) - 1


def _judged(split: ValidationSplit, item_count: int) -> Tensor:
    """Return the targets to judge by, all or those of evenly spaced users, in order."""
    step = max(1, -(-len(split.targets) * item_count // _MOST_SCORES))
    return (split.users % step == 0).nonzero().squeeze(1)
