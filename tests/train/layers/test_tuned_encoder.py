"""Items in chunks, each encoded again for its gradient, against one pass over all of them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from crossan.cache_schema.modality import Modality
from crossan.extract.backbones.memory import peak_bytes
from crossan.train.layers.fusions import ConcatFusion
from crossan.train.layers.tuned_encoder import TunedEncoder
from support.tuned import Arrays, tiny, tiny_arrays

MODALITIES = (Modality.TEXT, Modality.IMAGE)
WIDTH = 6
CPU = torch.device("cpu")


def make_encoder(*, chunk_size, dropout=0.0, dtype=torch.float64, width=8):
    torch.manual_seed(0)
    modules = [
        tiny(modality, dropout=dropout, width=width).take_module() for modality in MODALITIES
    ]
    heads = [nn.Linear(width, WIDTH) for _ in MODALITIES]
    encoder = TunedEncoder(
        modules, heads, ConcatFusion(2, WIDTH), chunk_size=chunk_size, text_position=0
    )
    return encoder.to(dtype).requires_grad_(True).train()


def make_items(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    presence = torch.rand(count, 2, generator=generator) < 0.7
    return [tiny_arrays(modality, count, generator) for modality in MODALITIES], presence


def vectors_and_gradients(encode, encoder, inputs, presence):
    vectors = encode(inputs, presence)
    weights = torch.linspace(-1, 1, vectors.numel(), dtype=vectors.dtype).view_as(vectors)
    gradients = torch.autograd.grad(
        (vectors * weights).sum(),
        list(encoder.parameters()),
        allow_unused=True,
        materialize_grads=True,
    )
    return [vectors.detach(), *gradients]


@settings(max_examples=15, deadline=None)
@given(count=st.integers(1, 9), chunk_size=st.integers(1, 9), seed=st.integers(0, 99))
def test_chunks_give_the_vectors_and_gradients_of_one_pass(count, chunk_size, seed):
    encoder = make_encoder(chunk_size=chunk_size)
    inputs, presence = make_items(count, seed)
    chunked = vectors_and_gradients(encoder, encoder, inputs, presence)
    whole = vectors_and_gradients(encoder.plain, encoder, inputs, presence)
    for ours, theirs in zip(chunked, whole, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-12, atol=1e-12)


def test_a_chunk_drops_out_the_same_when_it_is_encoded_again():
    """The twin keeps every chunk for the backward pass, and draws the same numbers in the same order."""
    encoder = make_encoder(chunk_size=3, dropout=0.4)
    inputs, presence = make_items(8)

    def keeping(inputs, presence):
        parts = [
            encoder._encode(inputs, presence[rows], presence, rows)
            for rows in torch.arange(len(presence)).split(3)
        ]
        return torch.cat(parts)

    torch.manual_seed(5)
    chunked = vectors_and_gradients(encoder, encoder, inputs, presence)
    after = torch.get_rng_state()
    torch.manual_seed(5)
    kept = vectors_and_gradients(keeping, encoder, inputs, presence)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(chunked, kept, strict=True))
    assert torch.equal(torch.get_rng_state(), after)
    torch.manual_seed(6)
    other = vectors_and_gradients(encoder, encoder, inputs, presence)
    assert not torch.equal(other[0], chunked[0])


class Counting(Arrays):
    """Notes which items are read."""

    def read(self, positions):
        counts.extend(positions)
        return super().read(positions)


counts: list[int] = []


def test_only_what_an_item_has_is_read_twice_with_a_gradient_and_once_without():
    encoder = make_encoder(chunk_size=2)
    inputs, presence = make_items(5)
    noted = [Counting(inputs[0].items), inputs[1]]
    present = presence[:, 0].nonzero()[:, 0].tolist()
    counts.clear()
    with torch.no_grad():
        encoder(noted, presence)
    assert sorted(counts) == present
    counts.clear()
    encoder(noted, presence).sum().backward()
    assert sorted(counts) == sorted(present * 2)


def test_an_absent_modality_is_zeros_in_its_place():
    encoder = make_encoder(chunk_size=9)
    inputs, _ = make_items(2)
    with torch.no_grad():
        vectors = encoder(inputs, torch.zeros(2, 2, dtype=torch.bool))
    assert torch.equal(vectors, encoder.fusion.merge.bias.expand(2, WIDTH))


def test_the_parameters_of_text_are_apart():
    encoder = make_encoder(chunk_size=1)
    text, others = (
        {id(each) for each in group}
        for group in (encoder.text_parameters(), encoder.adapter_parameters())
    )
    assert text == {id(each) for each in encoder.backbones[0].parameters()}
    assert others == {id(each) for each in encoder.backbones[1].parameters()}


@pytest.mark.parametrize(("is_chunked", "most"), [(True, 1.3), (False, 8.0)])
def test_the_memory_of_a_step_is_that_of_a_chunk(is_chunked, most):
    """Eight times the items; the pass that keeps everything takes more than five times the memory."""

    def peak(count):
        encoder = make_encoder(chunk_size=8, dtype=torch.float32, width=32)
        inputs, presence = make_items(count)
        encode = encoder if is_chunked else encoder.plain

        def step():
            encode(inputs, presence).sum().backward()

        step()  # the gradients are there from now on, as they are in every step but the first
        return peak_bytes(step, CPU)

    ratio = peak(128) / peak(16)
    assert ratio < most
    assert is_chunked or ratio > 5


def test_half_precision_is_near_and_leaves_weights_and_vectors_whole():
    encoder = make_encoder(chunk_size=3, dtype=torch.float32, width=16)
    inputs, presence = make_items(8)
    exact = vectors_and_gradients(encoder, encoder, inputs, presence)
    encoder._dtype = torch.bfloat16
    rounded = vectors_and_gradients(encoder, encoder, inputs, presence)
    assert all(each.dtype == torch.float32 for each in rounded)
    assert not torch.equal(rounded[0], exact[0])
    # Vectors, and all gradients together: some are next to nothing, and rounding is all of them.
    for ours, theirs in ((rounded[:1], exact[:1]), (rounded[1:], exact[1:])):
        given, expected = (torch.cat([each.flatten() for each in part]) for part in (ours, theirs))
        assert ((given - expected).norm() / expected.norm()).item() < 0.05
