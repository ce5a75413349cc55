"""What is trained inside a frozen backbone, held to answers by hand."""

import pytest
import torch
from torch import nn

from crossan.train.layers.backbone_adapters import Bottleneck, LowRankLinear, replace_modules


def filled(module, values):
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(torch.tensor(values[name]))
    return module


@pytest.mark.parametrize(
    ("activation", "expected"),
    # down: 2 x - 1 = 3 and -5; up: 10 times what is left of it, plus 0.5, plus x
    [("relu", [32.5, -1.5]), ("gelu", [32.459503, -1.500014])],
)
def test_an_adapter_known_answer(activation, expected):
    adapter = filled(
        Bottleneck(1, 1, activation),
        {"down.weight": [[2.0]], "down.bias": [-1.0], "up.weight": [[10.0]], "up.bias": [0.5]},
    )
    given = adapter(torch.tensor([[2.0], [-2.0]])).squeeze(1).tolist()
    assert given == pytest.approx(expected, abs=1e-5)


def test_a_new_adapter_is_drawn_as_in_iisan():
    torch.manual_seed(0)
    adapter = Bottleneck(200, 100, "relu")
    for linear in (adapter.down, adapter.up):
        assert not linear.bias.any()
        assert linear.weight.std().item() == pytest.approx(0.01, rel=0.05)


def test_a_pair_known_answer():
    """W x + b + (alpha / r) B A x = 3 * 2 + 1 + (5 / 1) * 7 * 11 * 2."""
    pair = LowRankLinear(nn.Linear(1, 1), rank=1, alpha=5.0)
    filled(pair, {"linear.weight": [[3.0]], "linear.bias": [1.0], "down": [[11.0]], "up": [[7.0]]})
    assert pair(torch.tensor([[2.0]])).item() == 7 + 770


def test_the_scale_of_a_pair_is_alpha_over_rank():
    assert LowRankLinear(nn.Linear(6, 6), rank=4, alpha=1.0).scaling == 0.25


def test_a_new_pair_changes_nothing():
    torch.manual_seed(0)
    linear, states = nn.Linear(6, 5), torch.randn(3, 6)
    expected = linear(states)
    assert torch.equal(LowRankLinear(linear, rank=2, alpha=1.0)(states), expected)


def test_a_merged_pair_gives_the_same():
    torch.manual_seed(0)
    pair = LowRankLinear(nn.Linear(6, 5), rank=2, alpha=3.0)
    nn.init.normal_(pair.up)
    states = torch.randn(7, 6)
    assert torch.allclose(pair.merged()(states), pair(states), atol=1e-6)


def test_a_pair_trains_itself_and_the_bias_alone():
    pair = LowRankLinear(nn.Linear(6, 5), rank=2, alpha=1.0)
    trained = {name for name, each in pair.named_parameters() if each.requires_grad}
    assert trained == {"linear.bias", "down", "up"}


def test_a_layer_without_a_bias_gets_none():
    pair = LowRankLinear(nn.Linear(6, 5, bias=False), rank=2, alpha=1.0)
    assert pair.merged().bias is None
    assert sum(each.numel() for each in pair.parameters() if each.requires_grad) == 2 * 6 + 5 * 2


def test_modules_are_replaced_where_they_are_and_nowhere_else():
    root = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2), nn.ReLU()))
    first = root[0]
    replace_modules(root, ["1.0"], lambda linear: nn.Sequential(linear, nn.Identity()))
    assert root[0] is first
    assert isinstance(root[1][0], nn.Sequential)
    assert isinstance(root[1][1], nn.ReLU)
