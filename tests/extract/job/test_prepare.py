"""A bad medium becomes a state with a typed reason; it never raises."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crossan.cache_schema.modality import ItemStatus, Modality
from crossan.extract.job.media_list import Medium
from crossan.extract.job.prepare import decoder_for, prepare_medium
from crossan.extract.job.worklist import Finding
from crossan.extract.media import AbsentMedium

FINDING = Finding(Medium("a", path=Path("/media/a")), "digest")


def _raising(error):
    def decode(path):
        raise error

    return decode


def test_a_title_goes_straight_to_the_backbone(counting_encoder):
    prepared = prepare_medium(Finding(Medium("a", "four"), "digest"), counting_encoder(), None)
    assert prepared.status is ItemStatus.OK
    assert prepared.inputs["size"].tolist() == [4.0]


def test_a_settled_finding_is_not_decoded(counting_encoder):
    finding = Finding(FINDING.medium, None, ItemStatus.MISSING, "missing: no file at /media/a")
    prepared = prepare_medium(finding, counting_encoder(Modality.IMAGE), _raising(AssertionError("decoded")))
    assert (prepared.inputs, prepared.status, prepared.reason) == (None, ItemStatus.MISSING, finding.reason)


def test_no_sound_track_is_absent_with_the_digest_of_the_file(counting_encoder):
    prepared = prepare_medium(FINDING, counting_encoder(Modality.AUDIO), _raising(AbsentMedium("no sound track")))
    assert (prepared.status, prepared.reason) == (ItemStatus.ABSENT, "no sound track")
    assert prepared.finding.digest == "digest"


def test_a_corrupt_file_is_quarantined_with_the_decoders_reason(counting_encoder, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"")
    encoder = counting_encoder(Modality.IMAGE)
    prepared = prepare_medium(Finding(Medium("a", path=path), "digest"), encoder, decoder_for(encoder))
    assert prepared.status is ItemStatus.QUARANTINED
    assert prepared.reason.startswith("empty-file: ")


def test_a_file_that_vanished_is_missing_without_a_digest(counting_encoder):
    prepared = prepare_medium(FINDING, counting_encoder(Modality.IMAGE), _raising(FileNotFoundError(2, "gone")))
    assert (prepared.status, prepared.finding.digest) == (ItemStatus.MISSING, None)


def test_a_file_that_cannot_be_read_is_quarantined(counting_encoder):
    prepared = prepare_medium(FINDING, counting_encoder(Modality.IMAGE), _raising(OSError(5, "Input/output error")))
    assert (prepared.status, prepared.reason) == (ItemStatus.QUARANTINED, "unreadable: Input/output error")


def test_an_input_the_processor_refuses_is_quarantined(counting_encoder):
    prepared = prepare_medium(Finding(Medium("a", "refuse me"), "d"), counting_encoder(), None)
    assert (prepared.status, prepared.reason) == (ItemStatus.QUARANTINED, "unusable-input: cannot use this")


def test_a_bug_is_not_taken_for_a_bad_medium(counting_encoder):
    with pytest.raises(TypeError):
        prepare_medium(FINDING, counting_encoder(Modality.IMAGE), _raising(TypeError("bug")))


def test_a_picture_is_decoded_for_the_backbone(counting_encoder, tmp_path):
    Image.fromarray(np.full((2, 2, 3), 50, dtype=np.uint8)).save(tmp_path / "a.png")
    encoder = counting_encoder(Modality.IMAGE)
    prepared = prepare_medium(Finding(Medium("a", path=tmp_path / "a.png"), "d"), encoder, decoder_for(encoder))
    assert prepared.inputs["size"].tolist() == [50.0]
