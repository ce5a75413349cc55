"""Masks of random bytes against a loop over the same bytes, and the counts of fixed seeds."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crossan.train.layers.byte_dropout import HIGHEST_BYTE_RATE, ByteDropout, draw_kept
from support.counts import of_full


def kept_by_loop(shape, rate, seed):
    """What `draw_kept` says, byte by byte, with plain integers."""
    torch.manual_seed(seed)
    count = math.prod(shape)
    draws = torch.empty(-(-count // 8), dtype=torch.int64).random_(-(2**63), None)
    numbers = [byte - 256 if byte > 127 else byte for byte in draws.numpy().tobytes()]
    chances = torch.rand(shape[0]).tolist()
    lower, share = int(rate * 256), rate * 256 - int(rate * 256)
    per_row = count // shape[0]
    kept = []
    for place in range(count):
        threshold = lower + (chances[place // per_row] < share)
        kept.append(int(numbers[place] + 128 >= threshold))
    return torch.tensor(kept, dtype=torch.int8).view(shape)


@settings(max_examples=of_full(200, 60))
@given(
    st.lists(st.integers(1, 7), min_size=1, max_size=3),
    st.floats(0, HIGHEST_BYTE_RATE) | st.sampled_from([0.1, 0.25, 0.5, HIGHEST_BYTE_RATE]),
    st.integers(0, 1000),
)
def test_a_mask_equals_a_loop_over_the_bytes(shape, rate, seed):
    torch.manual_seed(seed)
    assert torch.equal(draw_kept(shape, rate), kept_by_loop(shape, rate, seed))


def every_byte(monkeypatch, rows):
    """Draw all 256 bytes in each row, and chances at even distances."""

    def fill(draws, least, end):
        assert (least, end) == (-(2**63), None)
        draws.view(torch.int8).copy_(torch.arange(-128, 128).repeat(rows))
        return draws

    monkeypatch.setattr(torch.Tensor, "random_", fill)
    chances = ((torch.arange(rows) + 0.5) / rows).unsqueeze(1)
    monkeypatch.setattr(torch, "rand", lambda *shape: chances.view(shape))


@pytest.mark.parametrize("rate", [0.0, 0.001, 0.1, 0.25, 0.5, 0.9, HIGHEST_BYTE_RATE])
def test_over_all_bytes_and_chances_the_rate_is_the_one_that_was_asked_for(rate, monkeypatch):
    """Of 1,000 rows of all bytes, 256 * 0.1 = 25.6 are dropped on average: 25 in 400, 26 in 600."""
    every_byte(monkeypatch, 1000)
    dropped = 256 - draw_kept((1000, 256), rate).sum(dim=1).int()
    assert dropped.sum().item() == round(rate * 256_000)
    assert dropped.max() - dropped.min() <= 1


def test_counts_of_a_fixed_seed():
    """262,144 elements at 0.1: 235,930 kept on average, with a standard deviation of 154."""
    torch.manual_seed(0)
    first, second = (draw_kept((4096, 64), 0.1) for _ in range(2))
    assert [kept.sum(dtype=torch.int64).item() for kept in (first, second)] == [235_908, 235_920]
    # Calls do not depend on each other: 2,621 are dropped in both on average, give or take 51.
    assert ((first == 0) & (second == 0)).sum().item() == 2_670
    # Nor do neighbours, side by side (2,580 on average) or below each other (2,621).
    pairs = [(first[:, 1:], first[:, :-1]), (first[1:], first[:-1])]
    assert [((one == 0) & (two == 0)).sum().item() for one, two in pairs] == [2_549, 2_596]


def test_a_seed_or_a_restored_state_repeats_the_mask():
    dropout, values = ByteDropout(0.5), torch.ones(8, 16)
    torch.manual_seed(3)
    first, state = dropout(values), torch.get_rng_state()
    second = dropout(values)
    torch.manual_seed(3)
    assert torch.equal(dropout(values), first)
    torch.set_rng_state(state)
    assert torch.equal(dropout(values), second)
    torch.manual_seed(4)
    assert not torch.equal(dropout(values), first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_what_is_kept_is_scaled_and_its_gradient_too(dtype):
    torch.manual_seed(0)
    values = torch.arange(1, 101, dtype=dtype).view(20, 5).requires_grad_()
    dropped = ByteDropout(0.2)(values)
    dropped.backward(torch.full_like(dropped, 3.0))
    is_kept = dropped != 0
    assert 0 < is_kept.sum() < 100
    assert dropped.dtype == dtype
    assert torch.allclose(dropped[is_kept], 1.25 * values[is_kept])  # 1 / (1 - 0.2)
    assert torch.equal(values.grad != 0, is_kept)
    assert torch.allclose(values.grad[is_kept], torch.full((), 3.75, dtype=dtype))


def test_the_backward_keeps_one_byte_an_element():
    saved = []
    values = torch.ones(10, 8).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(
        lambda one: saved.append((one.dtype, one.numel())) or one, lambda one: one
    ):
        ByteDropout(0.1)(values)
    assert saved == [(torch.int8, 80)]


def test_evaluation_and_a_rate_of_zero_return_the_values_themselves():
    values = torch.ones(3, 3)
    assert ByteDropout(0.5).eval()(values) is values
    assert ByteDropout(0.0)(values) is values


@pytest.mark.parametrize("shape", [(0, 4), (4, 0)])
def test_nothing_is_dropped_of_nothing(shape):
    values = torch.ones(shape).requires_grad_()
    ByteDropout(0.1)(values).sum().backward()
    assert values.grad.shape == shape


def test_a_rate_beyond_what_bytes_hold_is_torchs():
    torch.manual_seed(0)
    dropped = ByteDropout(0.998)(torch.ones(100, 100))
    torch.manual_seed(0)
    assert torch.equal(dropped, torch.nn.functional.dropout(torch.ones(100, 100), 0.998))


@pytest.mark.parametrize("rate", [-0.1, 1.0, math.nan])
def test_a_rate_that_is_none_is_refused(rate):
    with pytest.raises(ValueError, match=f"of at least 0 and below 1, got {rate}"):
        ByteDropout(rate)


def test_the_printed_module_says_its_rate():
    assert repr(ByteDropout(0.25)) == "ByteDropout(rate=0.25)"
