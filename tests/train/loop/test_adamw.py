"""Our AdamW takes the steps of torch's fused one, to the bit, and loads nothing of its compiler."""

import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from crossan.train.loop.adamw import AdamW, Group
from crossan.train.loop.optimiser_state import optimiser_tensors, restore_optimiser
from support.counts import of_full

RATES, DECAY = (0.1, 0.003), 0.01


def make_layers():
    """Return two layers, and one that no step reaches."""
    torch.manual_seed(0)
    return nn.ModuleList([nn.Linear(5, 3), nn.Linear(3, 40), nn.Linear(2, 2)])


def ours_for(layers):
    groups = [
        Group(params=list(part.parameters()), lr=rate)
        for part, rate in zip((layers[0], layers[1:]), RATES, strict=True)
    ]
    return AdamW(groups, DECAY)


def torchs_for(layers):
    groups = [
        {"params": list(part.parameters()), "lr": rate}
        for part, rate in zip((layers[0], layers[1:]), RATES, strict=True)
    ]
    return torch.optim.AdamW(groups, weight_decay=DECAY, fused=True)


def take_steps(layers, optimiser, steps):
    for step in steps:
        inputs = torch.randn(7, 5, generator=torch.Generator().manual_seed(step))
        optimiser.zero_grad()
        hidden = layers[0](inputs)
        # Every third step has no gradient for the second layer, whose moments then stay as they are.
        (hidden if step % 3 == 2 else layers[1](hidden)).square().sum().backward()
        optimiser.step()


def assert_same_bits(one, other):
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name
        assert tensor.dtype == other[name].dtype


def test_steps_and_state_are_those_of_torch():
    (layers, optimiser), (twin, torchs) = (
        (made, make(made))
        for made, make in ((make_layers(), ours_for), (make_layers(), torchs_for))
    )
    take_steps(layers, optimiser, range(8))
    take_steps(twin, torchs, range(8))
    assert_same_bits(layers.state_dict(), twin.state_dict())
    assert_same_bits(optimiser_tensors(optimiser), optimiser_tensors(torchs))


@pytest.mark.parametrize("make_first", [ours_for, torchs_for])
def test_a_checkpoint_of_either_goes_on_alike(make_first):
    layers = make_layers()
    first = make_first(layers)
    take_steps(layers, first, range(4))
    saved = {name: tensor.clone() for name, tensor in optimiser_tensors(first).items()}
    twin = make_layers()
    twin.load_state_dict(layers.state_dict())
    optimiser = ours_for(twin)
    restore_optimiser(optimiser, saved)
    take_steps(layers, first, range(4, 8))
    take_steps(twin, optimiser, range(4, 8))
    assert_same_bits(layers.state_dict(), twin.state_dict())


def steps_over_rows(is_sparse, batches, decay):
    """Return a table of vectors, and its moments, after steps over some of its rows each."""
    torch.manual_seed(0)
    table, weight = nn.Parameter(torch.randn(6, 3)), nn.Parameter(torch.randn(3))
    optimiser = AdamW([Group(params=[table, weight], lr=0.1)], decay)
    for rows in batches:
        optimiser.zero_grad()
        if rows is not None:
            first = F.embedding(torch.tensor(rows), table, sparse=is_sparse)
            second = F.embedding(torch.tensor(rows[::2]), table, sparse=is_sparse)
            (first @ weight).square().sum().add((second * 3).exp().sum()).backward()
        optimiser.step()
    return {"table": table.detach(), "weight": weight.detach()} | optimiser_tensors(optimiser)


@settings(max_examples=of_full(200, 40), deadline=None)
@given(
    st.lists(st.none() | st.lists(st.integers(0, 5), min_size=1, max_size=9), max_size=6),
    st.sampled_from([0.0, 0.01]),
)
def test_a_sparse_gradient_moves_all_rows_as_a_dense_one(batches, decay):
    """Rows that no step reached for a while go on by their moments, and lose by decay."""
    dense, sparse = (steps_over_rows(is_sparse, batches, decay) for is_sparse in (False, True))
    assert dense.keys() == sparse.keys()
    for name, tensor in dense.items():
        # Two lookups of one table are summed in another order than a dense gradient's.
        torch.testing.assert_close(sparse[name], tensor, rtol=1e-6, atol=1e-7)


def test_every_rate_is_scaled():
    scaled, smaller = make_layers(), make_layers()
    one = ours_for(scaled)
    one.rates = [group["lr"] / 2 for group in one.param_groups]
    other = AdamW(
        [Group(params=g["params"], lr=g["lr"] / 2) for g in ours_for(smaller).param_groups], DECAY
    )
    take_steps(scaled, one, range(3))
    take_steps(smaller, other, range(3))
    assert_same_bits(scaled.state_dict(), smaller.state_dict())


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"0.exp_avg": torch.zeros(3, 4)}, "exp_avg of parameter 0 has shape"),
        ({"1.step": torch.zeros(2)}, "step of parameter 1 has shape"),
        ({"99.step": torch.zeros(())}, "no parameter 99 of 6"),
        ({"0.more": torch.zeros(3, 5)}, "no parameter 0 of 6 with"),
    ],
)
def test_the_state_of_other_parameters_is_refused(change, match):
    layers = make_layers()
    optimiser = ours_for(layers)
    take_steps(layers, optimiser, range(2))
    before = optimiser_tensors(optimiser)
    with pytest.raises(ValueError, match=match):
        restore_optimiser(optimiser, before | change)
    assert_same_bits(optimiser_tensors(optimiser), before)


_WITHOUT_COMPILER = """
import sys, torch
from crossan.train.loop.adamw import AdamW, Group
from crossan.train.record.spec import exact_kernels

weight = torch.nn.Parameter(torch.ones(3))
optimiser = AdamW([Group(params=[weight], lr=0.1)], 0.01)
with exact_kernels():
    assert torch.are_deterministic_algorithms_enabled()
    optimiser.zero_grad()
    weight.sum().backward()
    optimiser.step()
print([name for name in ("torch._dynamo", "torch._inductor", "sympy") if name in sys.modules])
"""


def test_a_step_loads_nothing_of_torchs_compiler():
    """It takes 2.7 s of CPU time, in every training."""
    printed = subprocess.check_output([sys.executable, "-c", _WITHOUT_COMPILER], text=True)
    assert printed == "[]\n"
