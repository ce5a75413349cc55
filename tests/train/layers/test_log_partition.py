"""Sums of exponentials by blocks: equal to plain ones, gradients and all, however they are cut."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crossan.train.layers import log_partition as module
from crossan.train.layers.log_partition import log_partition


def plainly(anchors, candidates, weights, counts):
    """Return the same by one table of all products."""
    products = torch.einsum("grw,cw->rgc", anchors, candidates) + counts.log()
    return weights @ products.flatten(1).logsumexp(dim=1)


def test_a_sum_by_hand():
    anchors = torch.tensor([[[1.0]], [[0.0]]])
    candidates = torch.tensor([[2.0], [-1.0]])
    found = log_partition(anchors, candidates, torch.tensor([3.0]), torch.tensor([1.0, 2.0]))
    first, second = math.exp(2) + 2 * math.exp(-1), 1 + 2
    assert found.item() == pytest.approx(3 * math.log(first + second))


@given(
    groups=st.integers(1, 3),
    rows=st.integers(1, 7),
    candidates=st.integers(1, 9),
    block=st.integers(1, 40),
    tile=st.integers(1, 20),
    seed=st.integers(0, 2**16),
)
def test_every_cut_gives_the_plain_sum_and_its_gradients(
    groups, rows, candidates, block, tile, seed
):
    generator = torch.Generator().manual_seed(seed)
    shapes = ((groups, rows, 3), (candidates, 3))
    leaves = [
        torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()
        for shape in shapes
    ]
    weights = torch.rand(rows, generator=generator, dtype=torch.float64)
    counts = torch.randint(1, 4, (candidates,), generator=generator).double()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK_NUMBERS", block)
        patch.setattr(module, "_TILE_NUMBERS", tile)
        fast = log_partition(*leaves, weights, counts)
    slow = plainly(*leaves, weights, counts)
    assert fast.item() == pytest.approx(slow.item(), rel=1e-12)
    ours, expected = (torch.autograd.grad(2.5 * one, leaves) for one in (fast, slow))
    for one, other in zip(ours, expected, strict=True):
        assert torch.allclose(one, other, rtol=1e-10, atol=1e-12)
