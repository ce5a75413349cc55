"""IISAN's towers: by hand, against the plain twin, and under absent modalities."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crossan.train.layers.iisan_towers import IisanGates, IisanTowers
from crossan.train.layers.tower import read_gate_weights
from support.counts import of_full


def randomised(towers, seed):
    generator = torch.Generator().manual_seed(seed)
    for parameter in towers.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    return towers


def make_towers(dims, layers=3, seed=0, activation="relu", is_paired=False):
    gates = [IisanGates(len(dims), 0.5, is_paired=is_paired) for _ in range(layers)]
    return randomised(IisanTowers(dims, 3, 2, gates, activation).double(), seed)


def identity_heads(towers):
    """Leave the last adapters' outputs as they are, of width 1."""
    for inner in (towers.heads.inner, towers.heads.outer):
        inner.fill_(1.0)
    towers.heads.inner_bias.zero_()
    towers.heads.outer_bias.zero_()


def test_one_tower_of_each_by_hand():
    """Width 1, two layers, adapters that only add their bias: 1 for text, 2 for image, 4 between them."""
    gates = [IisanGates(2, 0.1, is_paired=True) for _ in range(2)]
    towers = IisanTowers([1, 1], 1, 1, gates)
    with torch.no_grad():
        identity_heads(towers)
        for layer in range(2):
            towers.adapters[layer].down.zero_()
            towers.adapters[layer].up_bias.copy_(torch.tensor([[1.0], [2.0], [4.0]]))
        gates[1].intra_logits.copy_(torch.tensor([0.1 * math.log(3.0), 0.0]))
        gates[1].inter_logits.fill_(0.1 * math.log(4.0))
    text, image = torch.tensor([[[8.0], [4.0]]]), torch.tensor([[[2.0], [6.0]]])
    outputs = towers([text, image], torch.ones(1, 2, dtype=torch.bool)).flatten().tolist()
    low_text, low_image, low_inter = 8 / 2 + 1, 2 / 2 + 2, (8 + 2) / 2 + 4
    assert outputs == pytest.approx(
        [
            3 / 4 * 4 + 1 / 4 * low_text + 1,
            6 / 2 + low_image / 2 + 2,
            low_inter + (4 / 5 * 6 + 1 / 5 * 4) + 4,  # sigmoid(ln 4) = 4 / 5 of the image
        ]
    )


@settings(max_examples=of_full(60, 20), deadline=None)
@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=4),
    st.integers(1, 3),
    st.integers(0, 100),
    st.booleans(),
    st.sampled_from(["gelu", "relu"]),
)
def test_values_and_gradients_equal_the_plain_towers(dims, layers, seed, is_paired, activation):
    """Stores of different width, half precision, NaN in absent rows, an item with nothing at all."""
    generator = torch.Generator().manual_seed(seed)
    towers = make_towers(dims, layers, seed, activation, is_paired=is_paired and len(dims) == 2)
    presence = torch.rand(6, len(dims), generator=generator) < 0.6
    hidden = [torch.randn(6, layers, dim, generator=generator).half() for dim in dims]
    for m, states in enumerate(hidden):
        states[~presence[:, m]] = float("nan")
    sums = torch.linspace(-1, 2, 6 * (len(dims) + 1) * 2, dtype=torch.float64)
    found = []
    for climb in (towers, towers.plain):
        outputs = climb(hidden, presence)
        loss = (outputs.flatten() * sums).sum()
        gradients = torch.autograd.grad(loss, [*towers.parameters()])
        found.append([outputs.detach(), *gradients])
    for fast, slow in zip(*found, strict=True):
        assert fast.isfinite().all()
        assert torch.allclose(fast, slow, rtol=1e-12, atol=1e-12)


def test_an_absent_modality_leaves_the_rest_as_if_there_were_none():
    """The tower between them then reads the one modality in full."""
    towers = make_towers([4, 4], is_paired=True)
    hidden = [torch.randn(1, 3, 4, dtype=torch.float64) for _ in range(2)]
    outputs = towers(hidden, torch.tensor([[False, True]]))
    state = torch.zeros(4, dtype=torch.float64)
    for layer, adapters in enumerate(towers.adapters):
        mixed = state + hidden[1][0, layer]
        change = (mixed @ adapters.down[2] + adapters.down_bias[2]).relu()
        state = mixed + change @ adapters.up[2] + adapters.up_bias[2]
    expected = towers.heads.unfolded(state.expand(1, 3, 4))[0, 2]
    assert torch.allclose(outputs[0, 2], expected, atol=1e-12)
    assert not outputs[0, 0].any()
    alone = towers([hidden[0] * 7, hidden[1]], torch.ones(1, 2, dtype=torch.bool))
    assert torch.allclose(outputs[0, 1], alone[0, 1], atol=1e-12)


def test_two_modalities_of_the_extension_contain_iisan():
    """The softmax of 0 and p is the pair's sigmoid."""
    paired, extended = IisanGates(2, 0.1, is_paired=True), IisanGates(2, 0.1, is_paired=False)
    with torch.no_grad():
        paired.inter_logits.fill_(0.07)
        extended.inter_logits.copy_(torch.tensor([0.0, 0.07]))
    presence = torch.tensor([[True, True], [True, False], [False, False]])
    weights = paired.inter_weights(presence)
    assert torch.allclose(weights, extended.inter_weights(presence))
    image = 1 / (1 + math.exp(-0.7))
    assert weights.flatten().tolist() == pytest.approx([1 - image, image, 1, 0, 0, 0])


def test_a_paired_gate_is_of_two():
    with pytest.raises(ValueError, match="two modalities for a paired gate, got 3"):
        IisanGates(3, 0.1, is_paired=True)


def test_gate_weights_of_towers_and_of_a_checkpoint():
    towers = make_towers([4, 4, 4], layers=2)
    weights = towers.gate_weights()
    share = (torch.stack([g.intra_logits for g in towers.gates], dim=1) / 0.5).sigmoid()
    assert weights.shape == (3, 2, 4)
    assert torch.allclose(weights[..., -1], share)
    own_previous = torch.stack([weights[m, :, m] for m in range(3)])
    assert torch.allclose(own_previous, 1 - share)
    assert torch.allclose(weights.sum(dim=-1), torch.ones(3, 2, dtype=torch.float64))
    assert torch.allclose(towers.inter_weights().sum(dim=1), torch.ones(2, dtype=torch.float64))
    named = {f"item_encoder.towers.{name}": one for name, one in towers.state_dict().items()}
    assert torch.allclose(read_gate_weights(named, 0.5), weights)
