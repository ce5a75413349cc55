"""The packed ways through the sequence encoder against the one that computes padding."""

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crossan.train.layers import packed_attention
from crossan.train.layers.packed_attention import attend_by_torch, attention_over
from crossan.train.layers.packing import Packing, positions_read
from crossan.train.layers.sequence_encoder import EncoderForm, SequenceEncoder
from support.counts import of_full

LENGTH, WIDTH = 5, 4
TOLERANCES = {torch.float64: 1e-12, torch.float32: 4e-6}


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


FORMS = [
    EncoderForm(*parts)
    for parts in product(("post", "pre"), ("absolute", "relative"), ("dot", "cosine"))
]
ways = given(
    patterns(), st.integers(1, 3), st.sampled_from([1, 2, 4]), st.sampled_from(["gelu", "relu"]),
    st.sampled_from(FORMS), st.sampled_from(list(TOLERANCES)), st.integers(0, 1000),
)  # fmt: skip


@settings(max_examples=of_full(150, 50))
@ways
def test_the_packed_rows_and_all_gradients_equal_the_padded_ones(
    is_real, blocks, heads, activation, form, dtype, seed
):
    encoder, packing = (
        make_encoder(blocks, heads, dtype, activation=activation, form=form),
        Packing.of(is_real),
    )
    vectors = random_vectors(is_real, dtype, seed)
    fast = with_gradients(encoder, vectors, lambda all_: encoder.packed(all_[is_real], packing))
    slow = with_gradients(encoder, vectors, lambda all_: encoder(all_, is_real)[is_real])
    agree(fast, slow, TOLERANCES[dtype])


@settings(max_examples=of_full(150, 50))
@ways
def test_the_last_rows_and_all_gradients_equal_the_padded_ones(
    is_real, blocks, heads, activation, form, dtype, seed
):
    """Users without any real position among them."""
    encoder, packing = (
        make_encoder(blocks, heads, dtype, activation=activation, form=form),
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
    """An accelerator has torch's, so it is held against the other here, with and without a bias."""
    packing, results = Packing.of(is_real), []
    generator = torch.Generator().manual_seed(seed)
    length = is_real.shape[1]
    bias = torch.randn(heads, length, length, generator=generator, dtype=torch.float64)
    bias = bias.requires_grad_() if seed % 2 else None
    shape = len(packing.places), 3 * WIDTH
    projected = torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
    for attend in (
        attention_over(packing, heads, torch.float64, bias),
        lambda projected, rate: attend_by_torch(projected, packing, heads, rate, bias),
    ):
        attended = attend(projected, 0.0)
        learned = [projected] if bias is None else [projected, bias]
        grads = torch.autograd.grad(attended.square().sum(), learned, materialize_grads=True)
        results.append([attended.detach(), *grads])
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


def written_out(encoder, vectors):
    """One user without padding, position by position and head by head, as the docstrings say."""
    form, eps, states = encoder.form, 1e-6, []
    norm = lambda layer, state: torch.nn.functional.layer_norm(  # noqa: E731 - two words, used below
        state, (WIDTH,), layer.weight, layer.bias, eps
    )
    for place, vector in enumerate(vectors):
        at = place - len(vectors)
        state = vector + encoder.positions[at] if form.positions == "absolute" else vector
        states.append(norm(encoder.norm, state) if form.norm == "post" else state)
    for block in encoder.blocks:
        after = []
        for place, state in enumerate(states):
            read = [
                norm(block.attention_norm, other) if form.norm == "pre" else other
                for other in states[: place + 1]
            ]
            heads, width = [], WIDTH // block.head_count
            for head in range(block.head_count):
                part = slice(head * width, (head + 1) * width)
                query = (block.query.weight @ read[-1])[part]
                scores = torch.stack(
                    [query @ (block.key.weight @ other)[part] / width**0.5 for other in read]
                )
                if form.positions == "relative":
                    scores = scores + torch.stack(
                        [encoder.distances[place - other, head] for other in range(place + 1)]
                    )
                values = torch.stack([(block.value.weight @ other)[part] for other in read])
                heads.append(scores.softmax(0) @ values)
            state = state + block.output.weight @ torch.cat(heads)
            state = norm(block.attention_norm, state) if form.norm == "post" else state
            wide = norm(block.feed_forward_norm, state) if form.norm == "pre" else state
            state = state + block.narrow(torch.nn.functional.gelu(block.widen(wide)))
            after.append(norm(block.feed_forward_norm, state) if form.norm == "post" else state)
        states = after
    if form.norm == "pre":
        states = [norm(encoder.norm, state) for state in states]
    return torch.stack(states if form.scores == "dot" else [s / s.norm() for s in states])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("length", [1, 3, LENGTH])
def test_every_form_is_what_is_written_out(form, length):
    encoder = make_encoder(form=form)
    vectors = random_vectors(torch.ones(length, dtype=torch.bool), torch.float64, 3)
    actual = encoder(vectors.unsqueeze(0), torch.ones(1, length, dtype=torch.bool))[0]
    torch.testing.assert_close(actual, written_out(encoder, vectors), rtol=1e-12, atol=1e-12)


def test_every_form_begins_alike_and_has_as_many_weights_as_it_should():
    """pre has those of post; relative has a number for each distance and head in place of positions."""
    counts = {form: sum(p.numel() for p in make_encoder(form=form).parameters()) for form in FORMS}
    least = counts[EncoderForm()]
    assert counts[EncoderForm(norm="pre")] == counts[EncoderForm(scores="cosine")] == least
    assert counts[EncoderForm(positions="relative")] == least - LENGTH * WIDTH + LENGTH * 2
    torch.manual_seed(0)
    drawn = SequenceEncoder(WIDTH, LENGTH, 1, 2, 0.0, form=EncoderForm(positions="relative"))
    assert not drawn.distances.any()


@pytest.mark.parametrize("length", [50, 200])
def test_long_histories_are_packed_as_short_ones_are(length):
    """What data.max_items=53 and 203 make the encoder read."""
    counts = [0, 1, length // 2, length]
    for form in (EncoderForm(), EncoderForm("pre", "relative", "cosine")):
        torch.manual_seed(2)
        encoder = SequenceEncoder(WIDTH, length, 2, 2, 0.0, form=form).double()
        if form.positions == "relative":
            torch.nn.init.normal_(encoder.distances)
        is_real = padded_on_the_left(counts, length)
        vectors, packing = random_vectors(is_real, torch.float64, 4), Packing.of(is_real)
        whole = encoder(vectors, is_real)
        packed = encoder.packed(vectors[is_real], packing)
        torch.testing.assert_close(packed, whole[is_real], rtol=1e-10, atol=1e-10)
        last = encoder.last(vectors[is_real], packing)
        torch.testing.assert_close(last, whole[:, -1], rtol=1e-10, atol=1e-10)
