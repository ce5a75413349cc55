"""The agreement of sorted coordinates: by hand, and with autograd's gradients of the plain formula."""

import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from hypothesis import given
from hypothesis import strategies as st

from crossan.train.layers.rank_agreement import rank_agreement


def plainly(first, second, permutation, temperature):
    """Return the same loss, step by step."""
    h, v = first.sort(dim=1).values, second.sort(dim=1).values
    near = (F.cosine_similarity(h, v) / temperature).exp()
    far = (F.cosine_similarity(h, v[permutation]) / temperature).exp()
    return -(near / (near + far)).log().mean()


def test_two_nodes_by_hand():
    first = torch.tensor([[4.0, 3.0], [1.0, 0.0]])  # sorted, [3, 4] / 5 and [0, 1]
    second = torch.tensor([[0.0, 2.0], [5.0, 0.0]])  # sorted, both [0, 1]
    found = rank_agreement(first, second, torch.tensor([1, 0]), 0.5)
    assert found.item() == pytest.approx(math.log(2))
    second = torch.tensor([[0.0, 2.0], [-5.0, 0.0]])  # sorted, [0, 1] and [-1, 0]
    found = rank_agreement(first, second, torch.tensor([1, 0]), 0.5)
    losses = [math.log(1 + math.exp((-0.6 - 0.8) / 0.5)), math.log(1 + math.exp((1 - 0) / 0.5))]
    assert found.item() == pytest.approx(sum(losses) / 2)


@given(
    nodes=st.integers(1, 6),
    width=st.integers(1, 5),
    shortest=st.sampled_from([1.0, 1e-9]),
    seed=st.integers(0, 2**16),
)
def test_loss_and_gradients_are_those_of_the_plain_formula(nodes, width, shortest, seed):
    """Vectors shorter than the least length, 1e-8, among them."""
    generator = torch.Generator().manual_seed(seed)
    leaves = [torch.randn(nodes, width, generator=generator, dtype=torch.float64) for _ in "hv"]
    for leaf in leaves:
        leaf[torch.rand(nodes, generator=generator) < 0.3] *= shortest
        leaf.requires_grad_()
    permutation = torch.randperm(nodes, generator=generator)
    fast, slow = (one(*leaves, permutation, 0.1) for one in (rank_agreement, plainly))
    assert fast.item() == pytest.approx(slow.item(), rel=1e-9, abs=1e-12)
    ours, expected = (torch.autograd.grad(3 * one, leaves) for one in (fast, slow))
    for one, other in zip(ours, expected, strict=True):
        # Of short vectors there are terms of 1e8, which may cancel.
        atol = 1e-9 if shortest == 1.0 else 1e-5
        assert torch.allclose(one, other, rtol=1e-7, atol=atol)


def test_a_vector_of_zeros_agrees_with_nothing_and_leaves_no_nan():
    first, second = torch.ones(2, 3).requires_grad_(), torch.zeros(2, 3).requires_grad_()
    loss = rank_agreement(first, second, torch.tensor([1, 0]), 0.1)
    assert loss.item() == pytest.approx(math.log(2))
    assert all(one.isfinite().all() for one in torch.autograd.grad(loss, (first, second)))
