"""What the terms of a hybrid count is what is best, the least of it, and what cold items may cost."""

import numpy as np
import pytest
import torch

from crossan.train.loop.hybrid_choice import Choice, choose_weights
from crossan.train.models.hybrid_of_runs import TermWeights
from crossan.train.sequences.splits import ValidationSplit


class Told:
    """Terms whose ranks are told by a function of the weights."""

    def __init__(self, rank_of):
        self._rank_of = rank_of

    def ranks(self, candidates, rows, _doing):
        return [torch.tensor(self._rank_of(one))[rows] for one in candidates]


def choose(rank_of, cold_loss=0.25):
    targets = torch.tensor([0, 1, 2, 3])
    split = ValidationSplit(targets[:, None], targets, torch.arange(4), [np.array([0])] * 4)
    counts = np.array([1, 1, 1, 0])
    return choose_weights(Told(rank_of), split, counts, "hr@10", cold_loss, has_content=True)


def test_of_equal_figures_the_smaller_weights_are_taken():
    def rank_of(one):
        return [1, 1, 1 if one.co_occurrence >= 2 and one.content >= 0.5 else 99, 99]

    chosen = choose(rank_of)
    assert chosen.weights == TermWeights(2.0, 0.5)
    assert chosen.facts["cold_targets"] == 1


def test_cold_items_get_what_is_best_for_them_and_costs_little():
    def rank_of(one):
        # A target of four is lost to bonuses from 2 on, two from 4 on; more content loses none.
        lost = (one.cold_bonus >= 2) + (one.cold_bonus >= 4)
        reach = one.cold_bonus + one.cold_content / 3
        return [99 if user < lost else 1 for user in range(3)] + [1 if reach >= 3 else 99]

    # The cold target counts, too: what it gains is not lost.
    assert choose(rank_of, cold_loss=0.25).weights == TermWeights(0, 0, 3.0)
    content_is_chosen = choose(lambda one: with_content(rank_of(one), one), cold_loss=0.0).weights
    assert content_is_chosen == TermWeights(0, 0.5, 1.0, 7.0)
    assert choose(rank_of, cold_loss=0.5).weights == TermWeights(0, 0, 3.0)


def with_content(ranks, one):
    """Return ranks of which one needs content to be counted."""
    return [*ranks[:2], ranks[2] if one.content else 99, ranks[3]]


def test_what_changes_nothing_is_not_given():
    assert choose(lambda _: [1, 2, 3, 99]).weights == TermWeights()


def test_all_cold_targets_are_judged_by_where_not_all_are(monkeypatch):
    monkeypatch.setattr("crossan.train.loop.hybrid_choice._MOST_SCORES", 8)
    chosen = choose(lambda one: [1, 99, 99, 1 if one.cold_bonus >= 2 else 99])
    # Users 0 and 2 of four, and the one of the cold target, number 3.
    assert (chosen.facts["targets"], chosen.facts["cold_targets"]) == (2, 1)
    assert {one["hr@10"] for one in chosen.facts["grid"]} == {0.5}
    assert chosen.weights == TermWeights(0, 0, 2.0)


@pytest.mark.parametrize(("counts", "is_said"), [([1, 1], False), ([1, 1, 0], True)])
def test_without_cold_targets_there_is_no_bonus(capsys, counts, is_said):
    split = ValidationSplit(
        torch.tensor([[0], [1]]), torch.tensor([0, 1]), torch.arange(2), [np.array([0])] * 2
    )
    chosen = choose_weights(
        Told(lambda _: [1, 1]), split, np.array(counts), "hr@10", 0.5, has_content=False
    )
    assert isinstance(chosen, Choice)
    assert chosen.weights == TermWeights()
    assert len(chosen.facts["grid"]) == 6
    # Only where there are cold items is anything lost.
    assert ("cold items: no validation target is one" in capsys.readouterr().err) == is_said
