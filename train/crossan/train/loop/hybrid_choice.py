"""What the terms of a hybrid count, by its validation targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
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

__all__ = [
    "CHAIN_WEIGHTS",
    "COLD_BONUSES",
    "COLD_CONTENTS",
    "CONTENT_WEIGHTS",
    "Choice",
    "choose_weights",
]

CHAIN_WEIGHTS = CONTENT_WEIGHTS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
"""What the chain and the cosine may count, all pairs of which are tried."""
COLD_BONUSES = tuple(sorted(map(float, range(-6, 9)), key=abs))
"""What items that nobody had in training may be given, the smallest first."""
COLD_CONTENTS = (0.0, 1.0, 3.0, 7.0, 15.0)
"""How many times the cosine of such an item may count more. All pairs with the bonuses are tried."""
_MOST_SCORES = 200_000_000
"""Scores of all targets, beyond which evenly spaced users are judged by: 10 thousand users of
20 thousand items, or 200 of a million. Users of cold targets are few, and so many of them are
judged by besides."""
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
    """Choose what chain and content count by the best figure, then what cold items get.

    Of equal figures the smaller weights are taken. Of the cold items' pairs of bonus and
    content, that with the best HR@10 of cold targets is taken among those that cost no
    more than ``cold_loss`` of the figure, and of equal ones the cheapest.

    Parameters
    ----------
    terms, split
        The validation targets, and the terms of their scores.
    counts
        How often each catalogue row occurs in training, ``(items,)``.
    select_by
        The figure.
    cold_loss
        How much of the figure the cold items may cost.
    has_content
        Whether there is content to weigh.
    """
    is_cold = torch.from_numpy(counts == 0)[split.targets]
    judged = _Judged.of(split, is_cold, len(counts))
    grid = [
        TermWeights(chain, content)
        for chain, content in product(CHAIN_WEIGHTS, CONTENT_WEIGHTS if has_content else (0.0,))
    ]
    of_grid = judged.figures(terms, grid, select_by, "weigh the terms")
    # The first of the best, and the grid goes up.
    weights = grid[max(range(len(grid)), key=lambda number: of_grid[number].of_all)]
    best = max(figures.of_all for figures in of_grid)
    note(
        f"validation {select_by}: {of_grid[0].of_all:.4f} by the runs alone, {best:.4f}"
        f" with log(1 + {weights.co_occurrence:g} x Markov) and {weights.content:g} x content"
    )
    facts: dict[str, Any] = {
        "judged_by": select_by,
        "targets": int(judged.is_of_all.sum()),
        "cold_targets": int(judged.is_cold.sum()),
        "grid": [
            {"co_occurrence": one.co_occurrence, "content": one.content, select_by: figures.of_all}
            for one, figures in zip(grid, of_grid, strict=True)
        ],
    }
    if not facts["cold_targets"]:
        if (counts == 0).any():
            note(
                "cold items: no validation target is one, so there is nothing to choose a bonus by,"
                " and they may rank lower than by the runs alone; crossan recommend --new N has"
                " some of them in every list"
            )
        return Choice(weights, {**asdict(weights), **facts, "cold": []})
    of_cold = [
        replace(weights, cold_content=content, cold_bonus=bonus)
        for content, bonus in product(COLD_CONTENTS if weights.content else (0.0,), COLD_BONUSES)
    ]
    figures_of_cold = judged.figures(terms, of_cold, select_by, "weigh the cold items")
    number = _best_that_costs_little(figures_of_cold, best - cold_loss)
    chosen = of_cold[number]
    note(
        f"cold items: a bonus of {chosen.cold_bonus:g} and {chosen.cold_content:g} times more content"
        f" take {select_by} to {figures_of_cold[number].of_all:.4f}, HR@10 of"
        f" {facts['cold_targets']:,} cold targets from {figures_of_cold[0].of_cold:.4f} to"
        f" {figures_of_cold[number].of_cold:.4f}"
    )
    facts["cold"] = [
        {
            "cold_bonus": one.cold_bonus,
            "cold_content": one.cold_content,
            select_by: figures.of_all,
            "cold hr@10": figures.of_cold,
        }
        for one, figures in zip(of_cold, figures_of_cold, strict=True)
    ]
    return Choice(chosen, {**asdict(chosen), **facts})


class _Figures(NamedTuple):
    """How targets are ranked under some weights."""

    of_all: float
    """The figure that weights are chosen by."""
    of_cold: float
    """HR@10 of the cold targets."""


@dataclass(frozen=True, slots=True)
class _Judged:
    """The targets that weights are judged by."""

    rows: Tensor
    """Which of a split's, in order, ``(targets,)``."""
    users: Tensor
    is_of_all: Tensor
    """Whether the figure is judged by it, or HR@10 of the cold targets alone."""
    is_cold: Tensor

    @classmethod
    def of(cls, split: ValidationSplit, is_cold: Tensor, item_count: int) -> _Judged:
        """Take all targets, or those of evenly spaced users of all and of the cold ones."""
        of_all = _spaced(split.users, len(split.targets), item_count)
        cold_users = split.users[is_cold].unique()
        spaced = cold_users[_spaced(torch.arange(len(cold_users)), len(cold_users), item_count)]
        rows = (of_all | torch.isin(split.users, spaced)).nonzero().squeeze(1)
        return cls(rows, split.users[rows], of_all[rows], is_cold[rows])

    def figures(
        self, terms: HybridTerms, candidates: Sequence[TermWeights], select_by: SelectBy, doing: str
    ) -> list[_Figures]:
        """Return the figures of each candidate."""
        return [
            _Figures(
                selection_figure(
                    summarise(ranks[self.is_of_all], self.users[self.is_of_all]), select_by
                ),
                summarise(ranks[self.is_cold], self.users[self.is_cold])["hr@10"],
            )
            for ranks in terms.ranks(candidates, self.rows, doing)
        ]


def _spaced(users: Tensor, target_count: int, item_count: int) -> Tensor:
    """Return whether each of some users is among as many as may be judged by, ``(any,)`` bool."""
    step = max(1, -(-target_count * item_count // _MOST_SCORES))
    return users % step == 0


def _best_that_costs_little(figures: Sequence[_Figures], least: float) -> int:
    """Return the number of the first of the best for cold targets whose figure is no less."""
    cheap = [number for number, one in enumerate(figures) if one.of_all >= least - _TOLERANCE]
    return max(cheap, key=lambda number: (figures[number].of_cold, figures[number].of_all))
