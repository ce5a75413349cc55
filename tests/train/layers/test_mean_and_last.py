"""The mean of all hops and the last one, against powers of a dense matrix."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from crossan.train.layers.mean_and_last import mean_and_last_hop
from crossan.train.layers.sparse_matrix import SparseMatrix


def test_two_hops_by_hand():
    matrix = SparseMatrix(
        sparse.csr_array([[0.0, 2.0], [0.5, 0.0]]), torch.device("cpu"), is_symmetric=False
    )
    mean, last = mean_and_last_hop(matrix, torch.tensor([[1.0], [3.0]]), 2)
    # [1, 3], [6, 0.5], [1, 3]
    assert last.flatten().tolist() == [1.0, 3.0]
    assert mean.flatten().tolist() == pytest.approx([8 / 3, 6.5 / 3])


@given(hops=st.integers(0, 4), seed=st.integers(0, 2**16))
def test_both_and_their_gradients_are_those_of_powers(hops, seed):
    generator = torch.Generator().manual_seed(seed)
    dense = torch.randn(5, 5, generator=generator) * (torch.rand(5, 5, generator=generator) < 0.5)
    matrix = SparseMatrix(sparse.csr_array(dense.numpy()), torch.device("cpu"), is_symmetric=False)
    table = torch.randn(5, 3, generator=generator, dtype=torch.float64).requires_grad_()
    pulled = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)
    powers = [table]
    for _ in range(hops):
        powers.append(dense.double() @ powers[-1])
    slow = torch.stack(powers).mean(dim=0), powers[-1] * 1.0
    fast = mean_and_last_hop(matrix, table, hops)
    gradients = []
    for both in (fast, slow):
        loss = sum((one * pull).sum() for one, pull in zip(both, pulled, strict=True))
        gradients.append(torch.autograd.grad(loss, table)[0])
    for one, other in zip((*fast, gradients[0]), (*slow, gradients[1]), strict=True):
        assert torch.allclose(one, other, rtol=1e-9, atol=1e-10)
