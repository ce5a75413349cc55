"""A folded linear layer and normalisation are torch's two layers one after the other."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from crossan.train.layers.normed_gate import NormedAttention, NormedGate
from crossan.train.layers.normed_linear import NormedLinear, moments


def test_moments_by_hand():
    mean, covariance = moments(torch.tensor([[1.0, 2.0], [3.0, -4.0]]))
    assert mean.tolist() == [2.0, -1.0]
    assert covariance.tolist() == [[1.0, -3.0], [-3.0, 9.0]]


def test_small_differences_of_large_numbers_are_kept():
    table = torch.tensor([[1000.0], [1000.5], [1001.0]])
    assert moments(table)[1].item() == pytest.approx((0.25 + 0.25) / 3)


def random_layers(count, width, seed):
    """Return float64 layers with numbers that are not those of the start."""
    torch.manual_seed(seed)
    layers = [NormedLinear(width).double() for _ in range(count)]
    for layer in layers:
        for parameter in layer.parameters():
            nn.init.normal_(parameter)
    return layers


@given(
    rows=st.integers(2, 8),
    width=st.integers(1, 4),
    times=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_results_gradients_and_statistics_are_torchs(rows, width, times, seed):
    (layer,) = random_layers(1, width, seed)
    twin = nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width)).double()
    twin[0].load_state_dict(layer.linear.state_dict())
    twin[1].load_state_dict(layer.norm.state_dict())
    table = torch.randn(rows, width, dtype=torch.float64).requires_grad_()
    ours = F.linear(table, *layer.folded(table, times))
    for _ in range(times):
        theirs = twin(table)
    assert torch.allclose(ours, theirs, atol=1e-8)
    pulled = torch.randn_like(ours)
    leaves = (table, *layer.parameters()), (table, *twin.parameters())
    for one, other in zip(
        torch.autograd.grad((ours * pulled).sum(), leaves[0]),
        torch.autograd.grad((theirs * pulled).sum(), leaves[1]),
        strict=True,
    ):
        assert torch.allclose(one, other, atol=1e-6)
    for name, buffer in twin[1].named_buffers():
        assert torch.allclose(layer.norm.get_buffer(name), buffer, atol=1e-12)
    layer.eval(), twin.eval()
    assert torch.allclose(F.linear(table, *layer.folded(table)), twin(table), atol=1e-9)
    assert int(layer.norm.num_batches_tracked) == times  # an evaluation teaches nothing


@pytest.mark.parametrize("make", [NormedGate, NormedAttention])
def test_some_rows_are_those_of_all_rows(make):
    torch.manual_seed(0)
    net, table = make(3), torch.randn(9, 3)
    at = torch.tensor([4, 0, 4])
    whole = net(table)
    assert torch.allclose(net(table, at), whole[at], atol=1e-6)
    assert whole.shape == ((9, 1) if make is NormedAttention else (9, 3))
