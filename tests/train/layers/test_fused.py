"""The hand-written layer against plain modules and autograd: values and gradients."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crossan.train.layers import fused
from crossan.train.layers.adapter import SideAdapters
from crossan.train.layers.fused import mix_and_adapt
from crossan.train.layers.gate import CrossModalGates, IndependentGates
from crossan.train.layers.tower import SideAdapterTowers
from support.counts import of_full


def randomise(module: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Leave the symmetric start, where a wrong gradient could hide."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.data.normal_(std=0.5, generator=generator)
    return module


def gradients_of(module, inputs, outputs):
    """Values, then the gradients of an uneven sum of them: of every parameter and every input that asks for one."""
    uneven = torch.linspace(-1.0, 2.0, outputs.numel(), dtype=outputs.dtype).view_as(outputs)
    asked = [*module.parameters(), *(tensor for tensor in inputs if tensor.requires_grad)]
    return [outputs.detach(), *torch.autograd.grad((outputs * uneven).sum(), asked)]


def clean_stack(hidden, presence):
    """Hidden states ``(items, modality, dim)``, zeros where one is absent."""
    return torch.stack(
        [states.masked_fill(~presence[:, m, None], 0.0) for m, states in enumerate(hidden)], dim=1
    )


@st.composite
def layers(draw):
    """Random layer of either kind of gates and activation, previous outputs (None for the first), hidden states
    with garbage in absent rows, presence."""
    items, modalities = draw(st.integers(0, 7)), draw(st.integers(1, 4))
    dim, bottleneck, seed = (
        draw(st.integers(1, 5)),
        draw(st.integers(1, 4)),
        draw(st.integers(0, 1000)),
    )
    generator = torch.Generator().manual_seed(seed)
    is_present = draw(
        st.lists(st.booleans(), min_size=items * modalities, max_size=items * modalities)
    )
    presence = torch.tensor(is_present, dtype=torch.bool).view(items, modalities)
    hidden = [
        torch.randn(items, dim, dtype=torch.float64, generator=generator) for _ in range(modalities)
    ]
    for m, states in enumerate(hidden):
        states[~presence[:, m]] = float("nan")
        states.requires_grad_(draw(st.booleans()))
    previous = torch.randn(
        items, modalities, dim, dtype=torch.float64, generator=generator
    ).requires_grad_()
    is_first = draw(st.booleans())
    make_gates, activation = (
        draw(st.sampled_from([CrossModalGates, IndependentGates])),
        draw(st.sampled_from(["gelu", "relu"])),
    )
    gates = make_gates(modalities, draw(st.sampled_from([1.0, 0.1])))
    layer = torch.nn.ModuleList(
        [gates, SideAdapters(modalities, dim, bottleneck, activation)]
    ).double()
    return randomise(layer, seed), None if is_first else previous, hidden, presence


@settings(max_examples=of_full(150, 50), deadline=None)
@given(layers(), st.integers(1, 8), st.booleans())
def test_values_and_gradients_equal_the_plain_modules(layer, items_per_block, is_cached):
    """In blocks, as a CPU computes them, and all items at once, as an accelerator does."""
    (gates, adapters), previous, hidden, presence = layer[0], *layer[1:]
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(fused, "_ITEMS_PER_CPU_BLOCK", items_per_block)
        patches.setattr(fused, "_is_cached", lambda _: is_cached)
        ours = mix_and_adapt(previous, hidden, presence, gates, adapters)
        inputs = [*hidden, *([] if previous is None else [previous])]
        fast = gradients_of(layer[0], inputs, ours)
    clean = clean_stack(hidden, presence)
    below = torch.zeros_like(clean) if previous is None else previous
    slow = gradients_of(layer[0], inputs, adapters(gates(below, clean, presence)))
    for one, other in zip(fast, slow, strict=True):
        assert torch.allclose(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("activation", ["gelu", "relu"])
def test_gradcheck(activation):
    gates, adapters = (
        randomise(module.double(), 3)
        for module in (CrossModalGates(2, 0.5), SideAdapters(2, 3, 2, activation))
    )
    presence = torch.tensor([[True, True], [True, False], [False, True]])
    previous, text, image = (
        torch.randn(3, *shape, dtype=torch.float64).requires_grad_()
        for shape in ((2, 3), (3,), (3,))
    )
    parameters = [*gates.parameters(), *adapters.parameters()]
    assert torch.autograd.gradcheck(
        lambda *tensors: mix_and_adapt(tensors[0], tensors[1:3], presence, gates, adapters),
        (previous, text, image, *parameters),
    )


@settings(max_examples=of_full(50, 17), deadline=None)
@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=4),
    st.integers(1, 3),
    st.integers(0, 100),
    st.sampled_from([CrossModalGates, IndependentGates]),
)
def test_whole_towers_equal_the_plain_ones(dims, layer_count, seed, make_gates):
    """Stores of different width included, each with its learned map; hidden states as half precision stores hold them."""
    generator = torch.Generator().manual_seed(seed)
    towers = SideAdapterTowers(dims, layer_count, 3, 2, make_gates=make_gates, activation="relu")
    randomise(towers.double(), seed)
    presence = torch.rand(5, len(dims), generator=generator) < 0.7
    hidden = [torch.randn(5, layer_count, dim, generator=generator).half() for dim in dims]
    fast, slow = (
        gradients_of(towers, [], climb(hidden, presence)) for climb in (towers, towers.plain)
    )
    for one, other in zip(fast, slow, strict=True):
        assert torch.allclose(one, other, rtol=1e-12, atol=1e-12)


def test_only_the_bottleneck_is_kept_beside_what_was_there():
    """Saved bytes of a layer: 5 items, 2 modalities, bottleneck 4, float32; the rest are inputs or parameters."""
    gates, adapters = CrossModalGates(2), SideAdapters(2, 64, 4)
    previous = torch.randn(5, 2, 64).requires_grad_()
    hidden, presence = [torch.randn(5, 64), torch.randn(5, 64)], torch.ones(5, 2, dtype=torch.bool)
    known = {tensor.data_ptr() for tensor in (previous, presence, *hidden, *adapters.parameters())}
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: saved.append(tensor) or tensor, lambda tensor: tensor
    ):
        mix_and_adapt(previous, hidden, presence, gates, adapters)
    large = {
        tensor.data_ptr(): tensor for tensor in saved if tensor.numel() > 5 * 2 * 3
    }  # larger than the gates' weights
    assert [list(tensor.shape) for pointer, tensor in large.items() if pointer not in known] == [
        [2, 5, 4]
    ]


@pytest.mark.parametrize("is_cached", [True, False])
def test_bfloat16_stays_near_the_plain_modules_in_float32(is_cached, monkeypatch):
    """bfloat16 keeps 8 bits: every output and every gradient within a few times 1/256.

    Of the smooth activation: ReLU's slope jumps where rounding moves a number across zero.
    """
    monkeypatch.setattr(fused, "_is_cached", lambda _: is_cached)
    gates = randomise(CrossModalGates(3), 5)
    adapters = randomise(SideAdapters(3, 32, 16), 5)
    generator = torch.Generator().manual_seed(2)
    previous = torch.randn(20, 3, 32, generator=generator).requires_grad_()
    hidden = list(torch.randn(3, 20, 32, generator=generator))
    presence = torch.rand(20, 3, generator=generator) < 0.8
    layer = torch.nn.ModuleList([gates, adapters])
    plain = adapters(gates(previous, clean_stack(hidden, presence), presence))
    rounded = mix_and_adapt(previous, hidden, presence, gates, adapters, torch.bfloat16)
    assert rounded.dtype == torch.bfloat16
    slow, fast = (gradients_of(layer, [previous], outputs.float()) for outputs in (plain, rounded))
    # Weights learn in full precision: nothing of them is handed back in fewer bits.
    assert all(gradient.dtype == torch.float32 for gradient in fast[1:])
    for exact, near in zip(slow, fast, strict=True):
        assert (exact - near).norm() <= 0.02 * exact.norm()


@pytest.mark.parametrize("is_cached", [True, False])
def test_bfloat16_towers_stay_near_the_plain_ones(is_cached, monkeypatch):
    """Seven layers, the paper's number: the state is rounded in each, and so is its gradient."""
    monkeypatch.setattr(fused, "_is_cached", lambda _: is_cached)
    towers = SideAdapterTowers([32, 24, 32], 7, 8, 4, torch.bfloat16)
    generator = torch.Generator().manual_seed(4)
    presence = torch.rand(20, 3, generator=generator) < 0.8
    hidden = [torch.randn(20, 7, dim, generator=generator).half() for dim in (32, 24, 32)]
    rounded, plain = (
        gradients_of(towers, [], climb(hidden, presence)) for climb in (towers, towers.plain)
    )
    for near, exact in zip(rounded, plain, strict=True):
        assert near.dtype == torch.float32
        assert (exact - near).norm() <= 0.03 * exact.norm()


def test_what_layers_hand_to_each_other_takes_half_of_the_bytes():
    """Upwards the outputs, downwards their gradients."""
    gates, adapters = CrossModalGates(2), SideAdapters(2, 8, 4)
    hidden, presence = list(torch.randn(2, 6, 8)), torch.ones(6, 2, dtype=torch.bool)
    lower = mix_and_adapt(None, hidden, presence, gates, adapters, torch.bfloat16)
    upper = mix_and_adapt(lower, hidden, presence, gates, adapters, torch.bfloat16)
    handed_down = torch.autograd.grad(upper.sum(), lower)[0]
    assert lower.dtype == upper.dtype == handed_down.dtype == torch.bfloat16


def test_on_a_cpu_bfloat16_rounds_the_residual_once():
    """An adapter whose way up is zero is the identity, but for the rounding of what it returns."""
    gates, adapters = randomise(CrossModalGates(2), 1), randomise(SideAdapters(2, 8, 4), 1)
    torch.nn.init.zeros_(adapters.up)
    previous, hidden = torch.randn(6, 2, 8), list(torch.randn(2, 6, 8))
    presence = torch.ones(6, 2, dtype=torch.bool)
    exact, rounded = (
        mix_and_adapt(previous, hidden, presence, gates, adapters, dtype)
        for dtype in (None, torch.bfloat16)
    )
    assert torch.equal(rounded, exact.bfloat16())


@pytest.mark.parametrize("beta", [0, 1])
def test_products_of_items_are_the_same_one_by_one_and_all_at_once(beta, monkeypatch):
    weights, states, total = (
        torch.randn(5, *shape, dtype=torch.float64) for shape in ((4, 3), (3, 6), (4, 6))
    )
    expected = torch.stack([weights[i] @ states[i] + (total[i] if beta else 0.0) for i in range(5)])
    for is_cached in (True, False):
        monkeypatch.setattr(fused, "_is_cached", lambda _, is_cached=is_cached: is_cached)
        summed = total.clone() if beta else torch.full_like(total, float("nan"))
        fused._add_combined(summed, weights, states, beta)
        assert torch.allclose(summed, expected, rtol=1e-12, atol=1e-12)


def test_nothing_is_kept_where_nobody_asks_for_a_gradient():
    gates, adapters = CrossModalGates(1), SideAdapters(1, 2, 2)
    with torch.no_grad():
        output = mix_and_adapt(
            None, [torch.ones(3, 2)], torch.ones(3, 1, dtype=torch.bool), gates, adapters
        )
    assert output.grad_fn is None
    assert torch.equal(
        output, adapters(torch.full((3, 1, 2), 0.5))
    )  # gates of zeros: half previous, half hidden


@pytest.mark.parametrize(
    ("items", "sizes"), [(0, []), (1, [1]), (5, [5]), (7, [4, 3]), (11, [4, 4, 3])]
)
def test_blocks_cover_every_item_once_and_evenly(items, sizes, monkeypatch):
    monkeypatch.setattr(fused, "_ITEMS_PER_CPU_BLOCK", 5)
    blocks = list(fused._blocks(torch.ones(items, 2)))
    assert [block.stop - block.start for block in blocks] == sizes
    assert all(left.stop == right.start for left, right in pairwise(blocks))


def test_relu_has_no_slope_at_zero_and_below():
    """At 0 the derivative is 0, as autograd has it: nothing flows to weights of a bottleneck that is off."""
    adapters = SideAdapters(1, 2, 3, "relu").double()
    with torch.no_grad():
        adapters.down_bias.copy_(torch.tensor([[-1.0, 0.0, 2.0]]))
        adapters.down.zero_()
        adapters.up.fill_(1.0)
    hidden, presence = torch.ones(4, 2).double(), torch.ones(4, 1, dtype=torch.bool)
    output = mix_and_adapt(None, [hidden], presence, CrossModalGates(1).double(), adapters)
    output.sum().backward()
    # four items and two output dimensions reach the one bottleneck that is on
    assert adapters.down_bias.grad.tolist() == [[0.0, 0.0, 8.0]]
    # half the hidden state, then 2 * 1 from the bottleneck that is on
    assert output.tolist() == [[[2.5, 2.5]]] * 4
