"""The fusions of Table 5 against numbers worked out by hand, and against loops over items."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crossan.train.layers.fusions import ConcatFusion, DynamicGateFusion, StaticGateFusion
from support.counts import of_full

PRESENCE = torch.tensor([[True, True, True], [True, False, True], [False, True, False]])


def outputs_of(*items):
    """Return tower outputs of width 1, with the zeros of absent modalities."""
    return torch.tensor(items).unsqueeze(-1).masked_fill(~PRESENCE.unsqueeze(-1), 0.0)


def test_static_gates_weigh_all_items_alike_and_are_renormalised():
    fusion = StaticGateFusion(3)
    with torch.no_grad():
        fusion.logits.copy_(torch.tensor([0.0, math.log(2.0), math.log(3.0)]))
    outputs = outputs_of([6.0, 12.0, 18.0], [8.0, 99.0, 4.0], [99.0, 5.0, 99.0])
    assert fusion.weights(outputs, PRESENCE).flatten().tolist() == pytest.approx(
        [1 / 6, 2 / 6, 3 / 6, 1 / 4, 0, 3 / 4, 0, 1, 0]
    )
    # (6 + 2 * 12 + 3 * 18) / 6, (8 + 3 * 4) / 4, 5
    assert fusion(outputs, PRESENCE).flatten().tolist() == pytest.approx([14.0, 5.0, 5.0])


def test_new_static_gates_are_the_mean_of_what_is_present():
    outputs = outputs_of([3.0, 6.0, 9.0], [3.0, 99.0, 9.0], [99.0, 7.0, 99.0])
    fused = StaticGateFusion(3)(outputs, PRESENCE)
    assert fused.flatten().tolist() == pytest.approx([6.0, 6.0, 7.0])


def test_dynamic_gates_follow_the_item():
    fusion = DynamicGateFusion(3, 1)
    with torch.no_grad():
        # The first modality's output is the logit of the first weight, the others have logit 0.
        fusion.gate.weight.zero_()[0, 0] = 1.0
        fusion.gate.bias.zero_()
    first = math.log(2.0)
    outputs = outputs_of([first, 6.0, 2.0], [first, 99.0, 3.0], [99.0, 5.0, 99.0])
    assert fusion.weights(outputs, PRESENCE).flatten().tolist() == pytest.approx(
        [2 / 4, 1 / 4, 1 / 4, 2 / 3, 0, 1 / 3, 0, 1, 0]
    )
    assert fusion(outputs, PRESENCE).flatten().tolist() == pytest.approx(
        [(2 * first + 6 + 2) / 4, (2 * first + 3) / 3, 5.0]
    )


def test_concat_is_a_linear_layer_over_what_lies_side_by_side():
    fusion = ConcatFusion(3, 1)
    with torch.no_grad():
        fusion.merge.weight.copy_(torch.tensor([[1.0, 10.0, 100.0]]))
        fusion.merge.bias.fill_(0.5)
    outputs = outputs_of([1.0, 2.0, 3.0], [4.0, 99.0, 5.0], [99.0, 6.0, 99.0])
    assert fusion(outputs, PRESENCE).flatten().tolist() == pytest.approx([321.5, 504.5, 60.5])


@settings(max_examples=of_full(60, 20), deadline=None)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 1000))
def test_each_fusion_equals_a_loop_over_items_and_modalities(modalities, width, seed):
    generator = torch.Generator().manual_seed(seed)
    presence = torch.rand(5, modalities, generator=generator) < 0.6
    presence[:, seed % modalities] = True
    outputs = torch.randn(5, modalities, width, dtype=torch.float64, generator=generator)
    outputs = outputs.masked_fill(~presence.unsqueeze(-1), 0.0)
    dynamic, static, concat = (
        one.double()
        for one in (
            DynamicGateFusion(modalities, width),
            StaticGateFusion(modalities),
            ConcatFusion(modalities, width),
        )
    )
    torch.nn.init.normal_(static.logits, generator=generator)
    for item in range(5):
        here = [m for m in range(modalities) if presence[item, m]]
        side_by_side = torch.cat([outputs[item, m] for m in range(modalities)])
        scores = dynamic.gate.weight @ side_by_side + dynamic.gate.bias
        for fusion, logits in ((dynamic, scores), (static, static.logits)):
            shares = [math.exp(logits[m].item()) for m in here]
            expected = sum(
                share / sum(shares) * outputs[item, m]
                for share, m in zip(shares, here, strict=True)
            )
            fused = fusion(outputs, presence)[item]
            assert torch.allclose(fused, expected, rtol=1e-12, atol=1e-12)
        merged = concat.merge.weight @ side_by_side + concat.merge.bias
        assert torch.allclose(concat(outputs, presence)[item], merged, rtol=1e-12, atol=1e-12)
