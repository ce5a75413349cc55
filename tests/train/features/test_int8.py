"""Eight bits: within their bound, nothing where nothing was, and small errors where a few channels are large."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crossan.train.features.int8 import Int8Channels, relative_errors
from support.counts import of_full

CPU = torch.device("cpu")


def make_states(seed, items=20, layers=3, dim=16, dtype=torch.float16, outlier=1.0):
    """Normal states about a mean of their channel; one channel is ``outlier`` times as large as the others."""
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(items, layers, dim, generator=generator) + torch.randn(
        layers, dim, generator=generator
    )
    states[:, :, 3] *= outlier
    return states.to(dtype)


@settings(max_examples=of_full(50, 17), deadline=None)
@given(
    st.integers(0, 10_000),
    st.sampled_from([torch.float16, torch.float32]),
    st.sampled_from([1.0, 50.0, 1000.0]),
)
def test_no_value_is_off_by_more_than_half_a_code(seed, dtype, outlier):
    states = make_states(seed, dtype=dtype, outlier=outlier)
    channels = Int8Channels.of(states)
    packed = channels.pack(states)
    found = packed.index_select(0, torch.arange(len(states)))
    assert found.dtype == dtype
    half = packed.scales.unsqueeze(2) * channels.deviation / 2
    rounding = states.abs().float() * torch.finfo(dtype).eps + 1e-4 * half
    assert ((found.float() - states.float()).abs() <= half + rounding).all()
    assert packed.codes.abs().amax(dim=2).eq(127).all()  # every item's layer uses the whole range


def test_standardised_channels_cost_less_than_plain_rows():
    states = make_states(0, items=200, dim=256, outlier=40.0)
    channels = Int8Channels.of(states)
    plain = Int8Channels(
        torch.zeros_like(channels.mean), torch.ones_like(channels.deviation), states.dtype
    )
    ours, other = (relative_errors(states, one.pack(states)).mean() for one in (channels, plain))
    assert ours < 0.02
    assert ours < other / 3


def test_absent_rows_and_dead_channels_do_no_harm():
    states = make_states(1)
    states[7], states[:, :, 5], states[4] = 0.0, 2.5, float("nan")
    is_here = torch.arange(len(states)) != 4
    channels = Int8Channels.of(states[is_here])
    assert channels.deviation[:, 5].eq(1).all()
    found = channels.pack(states).index_select(0, torch.arange(len(states)))
    assert found.isfinite().all()
    assert found[is_here][:, :, 5].float() == pytest.approx(2.5, abs=0.05)


def test_the_largest_half_stays_finite():
    states = torch.full((4, 1, 8), 65_504.0, dtype=torch.float16)
    states[::2] *= -1
    states[0, 0, 0] = 1.0
    packed = Int8Channels.of(states).pack(states)
    assert packed.index_select(0, torch.arange(4)).isfinite().all()


def test_rows_put_block_by_block_are_those_packed_at_once():
    states = make_states(2)
    channels = Int8Channels.of(states)
    whole, room = channels.pack(states), channels.room(len(states), CPU)
    for start in range(0, len(states), 7):
        room.put(start, states[start : start + 7])
    assert room.codes.equal(whole.codes)
    assert room.scales.equal(whole.scales)
    assert room.shape == states.shape


def test_no_item_at_all_is_no_trouble():
    channels = Int8Channels.of(torch.empty(0, 2, 4))
    assert channels.pack(torch.empty(0, 2, 4)).codes.shape == (0, 2, 4)


def test_only_rows_are_selected():
    with pytest.raises(ValueError, match="expected dimension 0, got 1"):
        Int8Channels.of(make_states(0)).pack(make_states(0)).index_select(1, torch.tensor([0]))
