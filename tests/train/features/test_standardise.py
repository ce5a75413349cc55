"""Layers centred over the catalogue and brought to one size: by hand, and as the whole matrix in numpy gives it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crossan.cache_schema.errors import StoreIntegrityError
from crossan.cache_schema.modality import Modality
from crossan.train.features.moments import LayerMoments, MomentSums
from crossan.train.features.standardise import Standardiser, as_tensors, from_tensors
from support.counts import of_full

SHAPES = {Modality.TEXT: (2, 3)}


def moments_of(states, *cuts):
    """Return the moments of hidden states that are added in the parts between some positions."""
    sums = MomentSums(*states.shape[1:])
    for block in np.split(states, cuts):
        sums.add(block)
    return sums.moments()


def test_moments_by_hand():
    # One layer of two dimensions and two items: mean (2, 10), squared distances 1 + 1 and 0 + 0.
    moments = moments_of(np.array([[[1.0, 10.0]], [[3.0, 10.0]]], np.float32))
    assert moments.items == 2
    assert moments.mean.tolist() == [[2.0, 10.0]]
    assert moments.variance.tolist() == [0.5]  # 2 / (2 items x 2 dimensions)
    assert moments.share.tolist() == [0.5 / ((1 + 100 + 9 + 100) / 4)]


def test_a_standardised_layer_by_hand():
    states = torch.tensor([[[1.0, 10.0]], [[5.0, 10.0]]])
    Standardiser.of(moments_of(states.numpy())).apply(states)
    # Distances -2, 0 and 2, 0; their mean square is 2, so each 2 becomes the root of 2.
    assert states.flatten().tolist() == pytest.approx([-(2**0.5), 0, 2**0.5, 0])


def whole_matrix(states):
    """The slow twin: everything at once, from the formula."""
    wide = states.astype(np.float64)
    mean = wide.mean(axis=0)
    deviation = np.sqrt(((wide - mean) ** 2).mean(axis=(0, 2)))
    return (wide - mean) / deviation[:, None]


@settings(max_examples=of_full(60, 20))
@given(
    st.integers(2, 700),
    st.lists(st.integers(0, 700), max_size=4).map(sorted),
    st.sampled_from([np.float16, np.float32]),
    st.floats(0.01, 100),
    st.floats(-50, 50),
    st.integers(0, 2**32 - 1),
)
def test_blocks_give_what_the_whole_matrix_gives(items, cuts, dtype, size, centre, seed):
    random = np.random.default_rng(seed)
    sizes = size * np.array([1.0, 30.0])[:, None]
    states = (centre + sizes * random.normal(size=(items, 2, 5))).astype(dtype)
    moments = moments_of(states, *cuts)
    wide = states.astype(np.float64)
    np.testing.assert_allclose(moments.mean, wide.mean(axis=0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(moments.variance, wide.var(axis=0).mean(axis=1), rtol=1e-9)
    if moments.is_flat.any():
        return
    standard = torch.from_numpy(states.copy())
    Standardiser.of(moments).apply(standard)
    expected = whole_matrix(states)
    # float32 holds mean and states to 6e-8 of their size; the result has the dtype of the states.
    near = 1e-6 * (abs(wide).max() / np.sqrt(moments.variance.min())) + 2e-7
    np.testing.assert_allclose(standard.numpy(), expected, rtol=2 * np.finfo(dtype).eps, atol=near)


def test_the_order_of_threads_leaves_no_trace():
    states = np.random.default_rng(0).normal(size=(3000, 3, 64)).astype(np.float16)
    before = torch.get_num_threads()
    found = []
    for threads in (1, 4):
        torch.set_num_threads(threads)
        copy = torch.from_numpy(states.copy())
        moments = moments_of(states, 1024, 2048)
        Standardiser.of(moments).apply(copy)
        found.append((moments.mean.tobytes(), moments.variance.tobytes(), copy.numpy().tobytes()))
    torch.set_num_threads(before)
    assert found[0] == found[1]


@pytest.mark.parametrize("value", [0.0, 3.25, 60000.0])
def test_a_layer_that_never_changes_becomes_zeros(value):
    states = np.full((20, 2, 4), value, np.float16)
    states[::2, 1] = 1.0
    states[1::2, 1] = 2.0
    moments = moments_of(states, 7)
    assert moments.is_flat.tolist() == [True, False]
    standard = torch.from_numpy(states)
    Standardiser.of(moments).apply(standard)
    assert (standard[:, 0] == 0).all()
    assert standard[:, 1].unique().tolist() == [-1.0, 1.0]


def test_rounding_noise_is_not_blown_up_to_a_signal():
    """The lowest layer at the CLS position is one vector for all items, but for its last bit."""
    random = np.random.default_rng(0)
    vector = random.normal(size=(1, 1, 64)).astype(np.float16)
    noise = random.choice([0, 1], size=(50, 1, 64), p=[0.9, 0.1]).astype(np.int16)
    states = (vector.view(np.int16) + noise).view(np.float16)
    moments = moments_of(states)
    assert moments.is_flat.all()
    standard = torch.from_numpy(states)
    Standardiser.of(moments).apply(standard)
    assert standard.abs().max() < 0.01


def test_absent_rows_may_hold_anything_and_stay_to_themselves():
    states = torch.tensor([[[float("nan"), float("inf")]], [[4.0, 0.0]]], dtype=torch.float16)
    Standardiser(torch.zeros(1, 2), torch.tensor([2.0])).apply(states)
    assert states[1].tolist() == [[2.0, 0.0]]


def test_one_item_far_from_all_others_stays_finite():
    states = torch.tensor([[[60_000.0]]], dtype=torch.float16)
    Standardiser(torch.zeros(1, 1), torch.tensor([1e-3])).apply(states)
    assert states.item() == 65_504


def test_nothing_at_all_is_no_trouble():
    standardiser = Standardiser.of(moments_of(np.empty((0, 2, 3), np.float16)))
    assert standardiser.mean.tolist() == [[0.0] * 3] * 2
    assert standardiser.deviation.tolist() == [1.0, 1.0]
    standardiser.apply(torch.empty(0, 2, 3))


def test_tensors_are_what_they_were_made_from():
    states = np.random.default_rng(1).normal(size=(9, 2, 3)).astype(np.float32)
    made = Standardiser.of(moments_of(states))
    read = from_tensors(as_tensors({Modality.TEXT: made}), SHAPES, "here")
    assert read[Modality.TEXT].mean.equal(made.mean)
    assert read[Modality.TEXT].deviation.equal(made.deviation)


def tensors(**changed):
    whole = {"text.mean": torch.zeros(2, 3), "text.deviation": torch.ones(2)}
    return whole | {name.replace("_", "."): value for name, value in changed.items()}


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({}, "found none"),
        (tensors(image_mean=torch.zeros(2, 3)), r"found image.mean \[2, 3\]"),
        (tensors(text_mean=torch.zeros(1, 3)), r"expected the statistics .* text.mean \[2, 3\]"),
        (tensors(text_mean=torch.zeros(2, 3).double()), "finite float32 numbers in text.mean"),
        (tensors(text_mean=torch.full((2, 3), torch.nan)), "finite float32 numbers in text.mean"),
        (tensors(text_deviation=torch.tensor([1.0, 0.0])), "deviations above 0"),
    ],
)
def test_statistics_of_another_run_are_refused(found, said):
    with pytest.raises(StoreIntegrityError, match=f"here: .*{said}"):
        from_tensors(found, SHAPES, "here")


def test_a_deviation_too_small_for_float32_divides_by_one():
    moments = LayerMoments(2, np.zeros((1, 1)), np.array([1e-100]))
    assert Standardiser.of(moments).deviation.tolist() == [1.0]
