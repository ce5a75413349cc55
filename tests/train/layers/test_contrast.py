"""Losses within a batch, by hand and against a transcription."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crossan.train.layers.contrast import bayesian_ranking, info_nce


def test_the_ranking_loss_of_two_triples():
    users = torch.tensor([[1.0, 2.0], [0.0, 1.0]])
    positive = torch.tensor([[3.0, 0.0], [5.0, 1.0]])
    negative = torch.tensor([[1.0, 1.0], [0.0, 4.0]])
    first, second = 3.0 - 3.0, 1.0 - 4.0
    expected = (math.log1p(math.exp(-first)) + math.log1p(math.exp(-second))) / 2
    assert bayesian_ranking(users, positive, negative).item() == pytest.approx(expected)


def test_scores_far_apart_stay_finite():
    far = torch.tensor([[1e4]], requires_grad=True)
    bayesian_ranking(far, torch.tensor([[0.0]]), torch.tensor([[1.0]])).backward()
    assert far.grad.item() == 1.0


def test_the_contrastive_loss_of_two_rows():
    """Cosines of row 0 are 1 and 0.6, of row 1 they are 0 and 0.8."""
    anchor = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    positive = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    first = math.log(math.exp(2.0) + math.exp(1.2)) - 2.0
    second = math.log(math.exp(0.0) + math.exp(1.6)) - 1.6
    assert info_nce(anchor, positive, 0.5).item() == pytest.approx((first + second) / 2)


@given(st.integers(0, 2**32), st.integers(1, 6), st.sampled_from([0.2, 1.0]))
def test_the_contrastive_loss_is_its_formula(seed, rows, temperature):
    generator = torch.Generator().manual_seed(seed)
    anchor, positive = torch.randn(2, rows, 3, generator=generator, dtype=torch.float64)
    anchor, positive = anchor[[0, *range(rows)]], positive[[0, *range(rows)]]  # row 0 twice
    total = 0.0
    for row in range(rows + 1):
        cosines = torch.cosine_similarity(anchor[row], positive) / temperature
        total -= math.log(cosines[row].exp() / cosines.exp().sum())
    assert info_nce(anchor, positive, temperature).item() == pytest.approx(total / (rows + 1))
