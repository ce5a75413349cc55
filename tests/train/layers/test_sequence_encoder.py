"""The packed ways through the sequence encoder against the one that computes padding."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crossan.train.layers import packed_attention
from crossan.train.layers.packed_attention import attend_by_torch, attention_over
from crossan.train.layers.packing import Packing, positions_read
from crossan.train.layers.sequence_encoder import SequenceEncoder
from support.counts import of_full

LENGTH, WIDTH = 5, 4
TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-6}


def make_encoder(blocks=2, heads=2, dtype=torch.float64, **parts):
    torch.manual_seed(1)
    encoder = SequenceEncoder(WIDTH, LENGTH, blocks, heads, 0.0, **parts)
    for parameter in encoder.parameters():  # away from the start, where little differs
        torch.nn.init.normal_(parameter, std=0.4)
    return encoder.to(dtype)


def padded_on_the_left(counts, length):
    """``(users, position)`` of which the last of each user are real."""
    is_real = [[False] * (length - count) + [True] * count for count in counts]
    return torch.tensor(is_real, dtype=torch.bool).view(len(counts), length)


@st.composite
def patterns(draw):
    length = draw(st.integers(1, LENGTH))
    counts = draw(st.lists(st.integers(0, length), min_size=1, max_size=6))
    return padded_on_the_left(counts, length)


def random_vectors(is_real, dtype, seed):
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(*is_real.shape, WIDTH, generator=generator, dtype=torch.float64)
    return vectors.to(dtype)


def with_gradients(encoder, vectors, pick):
    """Return what is picked of the result, and the gradients of a weighted sum of it."""
    vectors = vectors.clone().requires_grad_()
    picked = pick(vectors)
    weights = torch.linspace(-1, 2, picked.numel(), dtype=picked.dtype).view_as(picked)
    return [
        picked.detach(),
        *torch.autograd.grad(
            (picked * weights).sum(), [vectors, *encoder.parameters()], materialize_grads=True
        ),
    ]


def agree(fast, slow, tolerance):
    """Both to rounding, of which a gradient of several terms has that of the largest."""
    largest = max(1.0, *(other.abs().max().item() for other in slow if other.numel()), 0.0)
    for one, other in zip(fast, slow, strict=True):
        assert torch.allclose(one, other, rtol=0, atol=tolerance * largest)


ways = given(
    patterns(), st.integers(1, 3), st.sampled_from([1, 2, 4]), st.sampled_from(["gelu", "relu"]),
    st.sampled_from(list(TOLERANCES)), st.integers(0, 1000),
)  # fmt: skip


@settings(max_examples=of_full(150, 50))
@ways
def test_the_packed_rows_and_all_gradients_equal_the_padded_ones(
    is_real, blocks, heads, activation, dtype, seed
):
    encoder, packing = (
        make_encoder(blocks, heads, dtype, activation=activation),
        Packing.of(is_real),
    )
    vectors = random_vectors(is_real, dtype, seed)
    fast = with_gradients(encoder, vectors, lambda all_: encoder.packed(all_[is_real], packing))
    slow = with_gradients(encoder, vectors, lambda all_: encoder(all_, is_real)[is_real])
    agree(fast, slow, TOLERANCES[dtype])


@settings(max_examples=of_full(150, 50))
@ways
def test_the_last_rows_and_all_gradients_equal_the_padded_ones(
    is_real, blocks, heads, activation, dtype, seed
):
    """Users without any real position among them."""
    encoder, packing = (
        make_encoder(blocks, heads, dtype, activation=activation),
        Packing.of(is_real),
    )
    vectors = random_vectors(is_real, dtype, seed)
    fast = with_gradients(encoder, vectors, lambda all_: encoder.last(all_[is_real], packing))
    slow = with_gradients(encoder, vectors, lambda all_: encoder(all_, is_real)[:, -1])
    agree(fast, slow, TOLERANCES[dtype])


def test_iisans_encoder_is_packed_as_well():
    encoder = make_encoder(follows_iisan=True)
    is_real = padded_on_the_left([0, 1, 5, 3], LENGTH)
    vectors = random_vectors(is_real, torch.float64, 0)
    fast = with_gradients(
        encoder, vectors, lambda all_: encoder.packed(all_[is_real], Packing.of(is_real))
    )
    slow = with_gradients(encoder, vectors, lambda all_: encoder(all_, is_real)[is_real])
    agree(fast, slow, 1e-12)


def test_a_packing_by_hand():
    packing = Packing.of(padded_on_the_left([1, 0, 2], 3))
    assert packing.places.tolist() == [2, 7, 8]
    rows = packing.rows.tolist()
    assert [rows[place] for place in packing.places] == [0, 1, 2]
    assert set(rows) <= {0, 1, 2}  # what stands at padding is some row
    padded = packing.padded(torch.tensor([[5.0], [6.0], [7.0]]))
    assert padded[packing.places].flatten().tolist() == [5, 6, 7]


def test_no_real_position_reads_padding_or_the_future():
    is_read = positions_read(padded_on_the_left([2], 3))[0]
    assert is_read.tolist() == [[True, False, False], [False, True, False], [False, True, True]]


@settings(max_examples=of_full(100, 30))
@given(patterns(), st.sampled_from([1, 2]), st.integers(0, 1000))
def test_attention_by_hand_equals_torchs(is_real, heads, seed):
    """An accelerator has torch's, so it is held against the other here."""
    packing, results = Packing.of(is_real), []
    generator = torch.Generator().manual_seed(seed)
    shape = len(packing.places), 3 * WIDTH
    projected = torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
    for attend in (
        attention_over(packing, heads, torch.float64),
        lambda projected, rate: attend_by_torch(projected, packing, heads, rate),
    ):
        attended = attend(projected, 0.0)
        (grad,) = torch.autograd.grad(attended.square().sum(), projected)
        results.append([attended.detach(), grad])
    agree(*results, 1e-12)


def test_dropout_of_attention_by_hand_equals_plain_operations(monkeypatch):
    """With the mask that was drawn, plain autograd gives the same value and gradient."""
    packing, rate, masks = Packing.of(padded_on_the_left([3, 1, 0, 2], 3)), 0.5, []
    drawn = packed_attention.draw_kept
    monkeypatch.setattr(
        packed_attention, "draw_kept", lambda *how: masks.append(drawn(*how)) or masks[-1].clone()
    )
    generator = torch.Generator().manual_seed(0)
    projected = torch.randn(6, 3 * WIDTH, generator=generator, dtype=torch.float64).requires_grad_()
    attended = attention_over(packing, 2, torch.float64)(projected, rate)
    (grad,) = torch.autograd.grad(attended.square().sum(), projected)

    parts = packing.padded(projected).view(4, 3, 3, 2, 2)  # user, position, part, head, head width
    query, key, value = parts.permute(2, 3, 0, 1, 4)  # (head, user, position, head width)
    is_read = positions_read(packing.is_real)
    scores = (query @ key.mT / 2**0.5).masked_fill(~is_read, float("-inf"))
    kept = masks[0].view(2, 4, 3, 3)
    assert 0 < kept.sum() < kept.numel()
    plain = (scores.softmax(-1) * kept / (1 - rate)) @ value
    plain = plain.permute(1, 2, 0, 3).reshape(12, WIDTH)[packing.places]
    (plain_grad,) = torch.autograd.grad(plain.square().sum(), projected)
    agree([attended.detach(), grad], [plain.detach(), plain_grad], 1e-12)


def test_dropout_repeats_with_the_seed_and_ends_with_evaluation():
    torch.manual_seed(0)
    encoder = SequenceEncoder(8, LENGTH, 2, 2, 0.3)
    is_real = padded_on_the_left([5, 2, 4], LENGTH)
    packing, vectors = Packing.of(is_real), torch.randn(11, 8)
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(encoder.packed(vectors, packing))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    encoder.eval()
    assert torch.equal(encoder.packed(vectors, packing), encoder.packed(vectors, packing))


def test_a_rate_beyond_what_bytes_hold_is_dropped_by_torch():
    torch.manual_seed(0)
    packing = Packing.of(padded_on_the_left([4] * 200, 4))
    projected = torch.ones(800, 6)
    attended = attention_over(packing, 1, torch.float32)(projected, 0.998)
    kept = (attended != 0).any(dim=1).sum().item()
    # Each row reads 1 to 4 equal shares: 2.5 on average, so about 800 * 2.5 * 0.002 = 4 have any.
    assert 1 <= kept <= 20


@pytest.mark.parametrize("way", ["packed", "last"])
def test_too_many_positions_are_refused_packed_as_well(way):
    packing = Packing.of(padded_on_the_left([6], 6))
    with pytest.raises(ValueError, match="expected at most 5 positions, got 6"):
        getattr(make_encoder(), way)(torch.zeros(6, WIDTH, dtype=torch.float64), packing)


def test_a_packing_moves_to_a_device():
    moved = Packing.of(padded_on_the_left([1, 2], 2)).to(torch.device("meta"))
    assert {moved.is_real.device.type, moved.places.device.type, moved.rows.device.type} == {"meta"}
