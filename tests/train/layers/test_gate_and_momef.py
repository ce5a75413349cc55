"""Eq. 5's gates and Eq. 6's fusion against numbers worked out by hand."""

import math

import pytest
import torch

from crossan.train.layers.adapter import SideAdapters
from crossan.train.layers.gate import CrossModalGates
from crossan.train.layers.momef import Momef
from crossan.train.layers.tower import SideAdapterTowers, read_gate_weights


def everything(items: int, inputs: int) -> torch.Tensor:
    return torch.ones(items, inputs, dtype=torch.bool)


def test_new_gates_are_the_plain_mean():
    hidden = torch.tensor([[[0.0], [12.0]]])
    mixed = CrossModalGates(2)(torch.tensor([[[3.0], [6.0]]]), hidden, everything(1, 2))
    assert mixed.flatten().tolist() == pytest.approx(
        [3.0, 7.0]
    )  # (3 + 6 + 0) / 3, (3 + 6 + 12) / 3


def test_the_named_weights_of_a_model_give_its_gates():
    towers = SideAdapterTowers([4, 4], layer_count=11, bottleneck_dim=2, width=3)
    with torch.no_grad():
        for layer, gates in enumerate(towers.gates):
            gates.logits.fill_(0.0)[:, 2] = math.log(layer + 1)
    named = {f"item_encoder.towers.{name}": one for name, one in towers.state_dict().items()}
    weights = read_gate_weights(named)
    assert torch.equal(weights, towers.gate_weights())
    assert weights[0, 10].tolist() == pytest.approx([1 / 13, 1 / 13, 11 / 13])
    assert read_gate_weights({"id_embedding.weight": torch.zeros(2, 3)}) is None


def test_gate_weights_sum_to_one_and_skip_what_is_absent():
    gates = CrossModalGates(2)
    with torch.no_grad():
        gates.logits[0] = torch.tensor([0.0, 5.0, math.log(3.0)])
        gates.logits[1] = torch.tensor([5.0, math.log(2.0), math.log(2.0)])
    weights = gates.weights(torch.tensor([[True, False], [False, True], [True, True]]))
    assert weights[0, 0].tolist() == pytest.approx(
        [0.25, 0.0, 0.75]
    )  # 1 / (1 + 3), masked, 3 / (1 + 3)
    assert weights[1, 1].tolist() == pytest.approx([0.0, 0.5, 0.5])
    assert weights.sum(dim=-1).flatten().tolist() == pytest.approx([1.0] * 6)


def test_each_modality_has_its_own_gate():
    gates = CrossModalGates(2)
    with torch.no_grad():
        gates.logits[1, 0] = math.log(2.0)
    mixed = gates(torch.tensor([[[4.0], [8.0]]]), torch.zeros(1, 2, 1), everything(1, 2))
    assert mixed.flatten().tolist() == pytest.approx([4.0, 4.0])  # (4 + 8) / 3, (2 * 4 + 8) / 4


def test_an_item_without_any_modality_gets_zeros_and_finite_gradients():
    gates = CrossModalGates(1)
    mixed = gates(torch.ones(1, 1, 2), torch.ones(1, 1, 2), torch.zeros(1, 1, dtype=torch.bool))
    mixed.sum().backward()
    assert mixed.tolist() == [[[0.0, 0.0]]]
    assert torch.isfinite(gates.logits.grad).all()


def test_adapter_is_the_identity_plus_its_bottleneck():
    adapters = SideAdapters(2, 1, 1)
    with torch.no_grad():
        for parameter, first in (
            (adapters.down, 2.0),
            (adapters.down_bias, 1.0),
            (adapters.up, 3.0),
            (adapters.up_bias, 0.5),
        ):
            parameter.zero_()
            parameter[0] = first  # the second modality's adapter stays zero: the identity
    gelu = 3.0 * 0.5 * (1 + math.erf(3.0 / math.sqrt(2)))  # down gives 2 * 1 + 1 = 3
    adapted = adapters(torch.ones(1, 2, 1))
    assert adapted.flatten().tolist() == pytest.approx([1.0 + 3.0 * gelu + 0.5, 1.0])


def make_momef(combine="sum", top_k=2, scores=(1.0, 3.0, 2.0)) -> Momef:
    """Experts multiply by 1, 10, 100; the router gives fixed scores through its bias."""
    fusion = Momef(3, 1, top_k, combine)
    with torch.no_grad():
        fusion.router.weight.zero_()
        fusion.router.bias.copy_(torch.tensor(scores))
        for expert, factor in zip(fusion.experts, (1.0, 10.0, 100.0), strict=True):
            expert.weight.fill_(factor)
            expert.bias.zero_()
        if fusion.merge is not None:
            fusion.merge.weight.copy_(torch.tensor([[1.0, 1000.0]]))
            fusion.merge.bias.zero_()
    return fusion


def test_top_k_is_renormalised_over_the_chosen():
    fused = make_momef()(torch.ones(1, 3, 1), everything(1, 3))
    heavy = math.e**3 / (math.e**3 + math.e**2)
    assert fused.item() == pytest.approx(heavy * 10 + (1 - heavy) * 100)


def test_an_absent_modality_is_never_chosen():
    presence = torch.tensor([[True, False, False], [True, False, True]])
    fused = make_momef()(torch.ones(2, 3, 1), presence)
    heavy = math.e**2 / (math.e**2 + math.e**1)
    assert fused.flatten().tolist() == pytest.approx([1.0, heavy * 100 + (1 - heavy) * 1])


def test_concat_lays_the_heaviest_first_and_leaves_empty_slots_zero():
    presence = torch.tensor([[True, True, True], [True, False, False]])
    fused = make_momef("concat")(torch.ones(2, 3, 1), presence)
    heavy = math.e**3 / (math.e**3 + math.e**2)
    assert fused.flatten().tolist() == pytest.approx(
        [heavy * 10 + 1000 * (1 - heavy) * 100, 1.0], rel=1e-5
    )


def test_ties_go_to_the_earlier_modality():
    chosen, weights = make_momef(top_k=1, scores=(2.0, 2.0, 2.0)).route(
        torch.ones(1, 3, 1), everything(1, 3)
    )
    assert chosen.tolist() == [[0]]
    assert weights.tolist() == [[1.0]]


@pytest.mark.parametrize("top_k", [0, 4])
def test_top_k_must_fit_the_modalities(top_k):
    with pytest.raises(ValueError, match=f"top_k from 1 to 3 .*, got {top_k}"):
        Momef(3, 1, top_k, "sum")
