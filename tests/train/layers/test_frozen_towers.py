"""Heads over the highest kept hidden state alone: what they read, and what they must not."""

import pytest
import torch

from crossan.train.layers.frozen_towers import FrozenTowers
from crossan.train.settings import FrozenSettings
from support.small_models import build

SETTINGS = FrozenSettings(width=4, heads=2, dropout=0.0)


def make_hidden(items, dims):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(items, 3, dim, generator=generator) for dim in dims]


def test_the_heads_read_the_highest_layer_alone():
    hidden, presence = make_hidden(3, [6, 6]), torch.ones(3, 2, dtype=torch.bool)
    towers = FrozenTowers([6, 6], 4)
    outputs = towers(hidden, presence)
    for m in range(2):
        inner = hidden[m][:, -1] @ towers.heads.inner[m] + towers.heads.inner_bias[m]
        torch.testing.assert_close(
            outputs[:, m], inner @ towers.heads.outer[m] + towers.heads.outer_bias[m]
        )
    lower = [
        torch.cat([torch.randn_like(states[:, :-1]), states[:, -1:]], dim=1) for states in hidden
    ]
    assert torch.equal(towers(lower, presence), outputs)


def test_what_lies_in_an_absent_row_changes_nothing():
    hidden, presence = (
        make_hidden(3, [6, 5]),
        torch.tensor([[True, False], [True, True], [False, True]]),
    )
    towers = FrozenTowers([6, 5], 4)
    outputs = towers(hidden, presence)
    hidden[0][2], hidden[1][0] = float("nan"), float("inf")
    assert torch.equal(towers(hidden, presence), outputs)
    assert not outputs[0, 1].any()
    assert not outputs[2, 0].any()


@pytest.mark.parametrize("dims", [[6], [6, 5]])
def test_folded_heads_equal_the_plain_ones(dims):
    torch.manual_seed(0)
    model = build(SETTINGS, dims, 3, 5).double()
    hidden, presence = make_hidden(4, dims), torch.ones(4, len(dims), dtype=torch.bool)
    fast, plain = model.item_encoder(hidden, presence), model.item_encoder.plain(hidden, presence)
    torch.testing.assert_close(fast, plain, rtol=1e-12, atol=1e-12)
    parameters = [p for p in model.item_encoder.parameters() if p.requires_grad]
    for ours, theirs in zip(
        torch.autograd.grad(fast.square().sum(), parameters, allow_unused=True),
        torch.autograd.grad(plain.square().sum(), parameters, allow_unused=True),
        strict=True,
    ):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_no_adapter_is_trained():
    names = [name for name, _ in build(SETTINGS, [6, 6], 3, 5).named_parameters()]
    assert not [name for name in names if "gates" in name or "adapters" in name]
