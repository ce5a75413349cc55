"""INDSAN's gates and the temperature of all gates, by numbers worked out by hand."""

import math

import pytest
import torch

from crossan.train.layers.gate import CrossModalGates, IndependentGates
from crossan.train.layers.tower import SideAdapterTowers, read_gate_weights


def everything(items, modalities):
    return torch.ones(items, modalities, dtype=torch.bool)


def test_new_gates_are_the_mean_of_a_tower_s_own_two_inputs():
    previous, hidden = torch.tensor([[[3.0], [6.0]]]), torch.tensor([[[1.0], [12.0]]])
    mixed = IndependentGates(2)(previous, hidden, everything(1, 2))
    assert mixed.flatten().tolist() == pytest.approx([2.0, 9.0])  # (3 + 1) / 2, (6 + 12) / 2


def test_other_towers_weigh_nothing_and_a_row_sums_to_one():
    gates = IndependentGates(3)
    with torch.no_grad():
        gates.logits[1] = torch.tensor([math.log(3.0), 0.0])
    (weights,) = gates.weights(everything(1, 3))
    assert weights[1].tolist() == pytest.approx([0.0, 0.75, 0.0, 0.25])
    assert weights.sum(dim=1).tolist() == pytest.approx([1.0] * 3)


@pytest.mark.parametrize("temperature", [1.0, 0.1, 2.0])
def test_the_temperature_divides_the_logits(temperature):
    """Odds of 9 to 1 (to 1) at a temperature of 1, of 9 ** (1 / t) at t."""
    odds = 9 ** (1 / temperature)
    cross, own = CrossModalGates(2, temperature), IndependentGates(1, temperature)
    with torch.no_grad():
        cross.logits[0, 2] = math.log(9.0)
        own.logits[0, 1] = math.log(9.0)
    assert cross.weights(everything(1, 2))[0, 0].tolist() == pytest.approx(
        [1 / (odds + 2), 1 / (odds + 2), odds / (odds + 2)], rel=1e-4
    )
    assert own.weights(everything(1, 1))[0, 0].tolist() == pytest.approx(
        [1 / (odds + 1), odds / (odds + 1)], rel=1e-4
    )


@pytest.mark.parametrize("temperature", [1.0, 0.1])
def test_new_gates_are_even_at_any_temperature(temperature):
    weights = CrossModalGates(2, temperature).weights(everything(1, 2))
    assert torch.equal(weights, CrossModalGates(2).weights(everything(1, 2)))


def test_a_checkpoint_gives_its_gates_at_the_run_s_temperature():
    for make_gates in (CrossModalGates, IndependentGates):
        towers = SideAdapterTowers(
            [4, 4, 4], 2, 2, 3, make_gates=lambda count, make=make_gates: make(count, 0.5)
        )
        for parameter in towers.parameters():
            torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(1))
        named = {f"item_encoder.towers.{name}": one for name, one in towers.state_dict().items()}
        assert torch.equal(read_gate_weights(named, 0.5), towers.gate_weights())
        assert not torch.allclose(read_gate_weights(named), towers.gate_weights())
        assert towers.gate_weights().shape == (3, 2, 4)


def test_towers_of_one_modality_are_the_same_with_either_gates():
    torch.manual_seed(0)
    cross = SideAdapterTowers([5], 3, 2, 4)
    own = SideAdapterTowers([5], 3, 2, 4, make_gates=IndependentGates)
    own.load_state_dict(cross.state_dict())
    hidden = [torch.randn(6, 3, 5)]
    assert torch.allclose(own(hidden, everything(6, 1)), cross(hidden, everything(6, 1)), atol=1e-6)


def test_independent_towers_know_nothing_of_each_other():
    torch.manual_seed(0)
    towers = SideAdapterTowers([5, 5], 3, 2, 4, make_gates=IndependentGates)
    hidden = [torch.randn(6, 3, 5) for _ in range(2)]
    before = towers(hidden, everything(6, 2))
    after = towers([hidden[0], hidden[1] + 1.0], everything(6, 2))
    assert torch.equal(before[:, 0], after[:, 0])
    assert not torch.allclose(before[:, 1], after[:, 1])
