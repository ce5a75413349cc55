"""The canary: four inputs that are the same everywhere, and a comparison that refuses another machine's numbers."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from crossan.cache_schema.errors import IncompatibleError
from crossan.cache_schema.modality import Modality
from crossan.common.stores.canary import check_canary
from crossan.extract.backbones.canary_inputs import canary_inputs
from crossan.extract.job.canary import canary_features


@pytest.mark.parametrize("modality", list(Modality))
def test_there_are_four_different_inputs_and_they_never_change(counting_encoder, modality):
    first, second = (canary_inputs(counting_encoder(modality)) for _ in range(2))
    digests = [
        hashlib.sha256(repr(np.asarray(medium).tolist()).encode()).hexdigest() for medium in first
    ]
    assert len(set(digests)) == 4
    assert digests == [
        hashlib.sha256(repr(np.asarray(medium).tolist()).encode()).hexdigest() for medium in second
    ]


def test_inputs_are_what_the_decoders_give(counting_encoder):
    assert {picture.mode for picture in canary_inputs(counting_encoder(Modality.IMAGE))} == {"RGB"}
    assert [clip.shape[0] for clip in canary_inputs(counting_encoder(Modality.VIDEO))] == [
        4,
        4,
        4,
        4,
    ]
    assert all(
        clip.dtype == np.uint8 and clip.shape[3] == 3
        for clip in canary_inputs(counting_encoder(Modality.VIDEO))
    )
    sounds = canary_inputs(counting_encoder(Modality.AUDIO))
    assert [(len(sound), sound.dtype) for sound in sounds] == [
        (n, np.float32) for n in (48_000, 16_000, 48_000, 48_000)
    ]
    assert all(np.abs(sound).max() <= 0.5 for sound in sounds)


def test_features_have_one_row_per_input(counting_encoder):
    assert canary_features(counting_encoder(Modality.VIDEO)).shape == (4, 3, 2)


def test_features_are_computed_once_for_a_loaded_backbone(counting_encoder):
    encoder, other = counting_encoder(), counting_encoder(scale=2.0)
    first = canary_features(encoder)
    np.testing.assert_array_equal(canary_features(encoder), first)
    assert encoder.batches == [4]
    np.testing.assert_array_equal(canary_features(other), 2 * first)


def test_features_that_are_not_finite_are_refused(counting_encoder):
    with pytest.raises(
        IncompatibleError, match="text: expected finite features of the canary inputs"
    ):
        canary_features(counting_encoder(scale=float("nan")))


RECORDED = np.full((4, 2, 2), 3.0, dtype=np.float32)


@pytest.mark.parametrize(
    ("factor", "compute_dtype"), [(1.0, "float32"), (1.0009, "float32"), (1.02, "bfloat16")]
)
def test_small_differences_pass(factor, compute_dtype):
    check_canary(RECORDED, RECORDED * np.float32(factor), compute_dtype=compute_dtype, where="S")


@pytest.mark.parametrize(
    ("factor", "compute_dtype"), [(1.002, "float32"), (1.04, "bfloat16"), (np.nan, "float32")]
)
def test_larger_differences_stop(factor, compute_dtype):
    with pytest.raises(
        IncompatibleError,
        match="store S: canary mismatch: expected the stored hidden states within",
    ):
        check_canary(
            RECORDED, RECORDED * np.float32(factor), compute_dtype=compute_dtype, where="S"
        )


def test_the_worst_input_and_layer_are_named():
    computed = RECORDED.copy()
    computed[2, 1] *= 2
    with pytest.raises(IncompatibleError, match="found 1 at input 2, kept layer number 1"):
        check_canary(RECORDED, computed, compute_dtype="float32", where="S")


def test_another_shape_is_a_mismatch():
    with pytest.raises(IncompatibleError, match=r"expected shape \(4, 2, 2\), found \(4, 1, 2\)"):
        check_canary(RECORDED, RECORDED[:, :1], compute_dtype="float32", where="S")
