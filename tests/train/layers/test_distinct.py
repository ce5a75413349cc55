"""Distinct rows of a batch, and a contrastive loss that counts each as often as the batch has it."""

import math

import pytest
import torch

from crossan.train.layers.contrast import info_nce
from crossan.train.layers.distinct import DistinctRows, contrast


def test_each_node_is_there_once_and_every_triple_finds_its_own():
    triples = torch.tensor([[2, 5, 7], [0, 7, 1], [2, 5, 5]]).unbind(dim=1)
    rows = DistinctRows.of(*triples)
    assert rows.users.tolist() == [0, 2]
    assert rows.items.tolist() == [1, 5, 7]
    nodes = rows.nodes(10)
    assert nodes.tolist() == [0, 2, 11, 15, 17]
    users, items, others = rows.of_triples(nodes.double().unsqueeze(1))
    assert users.squeeze(1).tolist() == triples[0].tolist()
    assert (items.squeeze(1) - 10).tolist() == triples[1].tolist()
    assert (others.squeeze(1) - 10).tolist() == triples[2].tolist()
    at, counts = rows.user_counts()
    assert (nodes[at].tolist(), counts.tolist()) == ([0, 2], [1, 2])
    at, counts = rows.positive_counts()
    assert (nodes[at].tolist(), counts.tolist()) == ([15, 17], [2, 1])


def test_the_loss_is_that_of_the_whole_batch():
    generator = torch.Generator().manual_seed(0)
    anchors, positives = (
        torch.randn(4, 3, generator=generator, dtype=torch.float64).requires_grad_() for _ in "ap"
    )
    counts = torch.tensor([1, 3, 2, 1])
    rows = torch.arange(4).repeat_interleave(counts)
    fast = contrast(anchors, positives, counts, 0.2)
    slow = info_nce(anchors[rows], positives[rows], 0.2)
    assert fast.item() == pytest.approx(slow.item(), rel=1e-12)
    ours, expected = (torch.autograd.grad(one, (anchors, positives)) for one in (fast, slow))
    for one, other in zip(ours, expected, strict=True):
        assert torch.allclose(one, other, rtol=1e-10, atol=1e-12)


def test_candidates_may_be_others_than_the_batch():
    one = torch.tensor([[3.0, 0.0]])
    everyone = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-5.0, 0.0]])
    found = contrast(one, one, torch.tensor([4]), 0.5, everyone)
    assert found.item() == pytest.approx(math.log(math.exp(2) + 1 + math.exp(-2)) - 2)
