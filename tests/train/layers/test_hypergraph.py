"""Learned hypergraphs: ties, rounds and draws."""

import math

import pytest
import torch

from crossan.train.layers.hypergraph import Hypergraph, gumbel, step_draws, ties

CPU = torch.device("cpu")


def test_ties_are_a_softmax_of_noisy_logits():
    logits = torch.tensor([[0.0, math.log(2.0)]])
    assert ties(logits, 0.5)[0].tolist() == pytest.approx([1 / 5, 4 / 5])
    noise = torch.tensor([[math.log(2.0), 0.0]])
    assert ties(logits, 0.5, noise)[0].tolist() == pytest.approx([1 / 2, 1 / 2])
    kept = torch.tensor([[0.0, 10 / 7]])
    assert ties(logits, 0.5, noise, kept)[0].tolist() == pytest.approx([0.0, 5 / 7])


def test_rounds_go_from_items_to_hyperedges_and_back():
    of_items, of_users = torch.tensor([[1.0, 0.0], [0.5, 0.5]]), torch.tensor([[0.0, 1.0]])
    items = torch.tensor([[2.0], [4.0]])
    once = Hypergraph.of(of_users, of_items, items, 1)
    assert once.edges.tolist() == [[4.0], [2.0]]
    assert once.rows.tolist() == [[2.0], [4.0], [3.0]]
    twice = Hypergraph.of(of_users, of_items, items, 2)
    assert twice.edges.tolist() == [[4.0 + 1.5], [1.5]]
    assert twice.rows.tolist() == [[1.5], [5.5], [3.5]]


def test_noise_is_gumbels():
    torch.manual_seed(0)
    noise = gumbel(20_000, 2, CPU)
    assert noise.mean().item() == pytest.approx(0.5772, abs=0.03)
    assert noise.var().item() == pytest.approx(math.pi**2 / 6, abs=0.05)
    # The share below zero is 1 / e.
    assert (noise < 0).float().mean().item() == pytest.approx(1 / math.e, abs=0.01)


def test_a_step_draws_for_each_modality_anew():
    torch.manual_seed(0)
    draws = step_draws(2, (400, 300), 5, 0.3, CPU)
    (first, users), (second, _) = draws.noise
    assert first.shape == (400, 5)
    assert users.shape == (300, 5)
    assert not torch.equal(first, second)
    kept, of_users = draws.kept[0]
    assert kept.unique().tolist() == pytest.approx([0.0, 1 / 0.7])
    assert (kept > 0).float().mean().item() == pytest.approx(0.7, abs=0.04)
    assert of_users.shape == (300, 5)
    for permutation in draws.permutations:
        assert torch.equal(permutation.sort().values, torch.arange(700))
    assert not torch.equal(*draws.permutations)
    torch.manual_seed(0)
    assert torch.equal(step_draws(2, (400, 300), 5, 0.3, CPU).noise[1][0], second)


def test_without_dropout_all_ties_are_kept():
    assert torch.equal(step_draws(1, (4, 3), 2, 0.0, CPU).kept[0][0], torch.ones(4, 2))
