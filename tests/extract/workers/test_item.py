"""A bad medium becomes a state with a typed reason; it never raises, and a bug always does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crossan.cache_schema.errors import DataError
from crossan.cache_schema.modality import ItemStatus, Modality
from crossan.extract.media.clip import ClipReader
from crossan.extract.workers import DecodeOrder, ItemReader, item


def _size(picture):
    return {"size": np.array([float(np.asarray(picture, np.float64).mean())], np.float32)}


def _read(path, prepare=_size, modality=Modality.IMAGE):
    reader = ItemReader({modality: prepare}, ClipReader(frame_count=4, sampling_rate=16_000))
    return reader.read(DecodeOrder(Path(path), "digest", (modality,)))[modality]


def _raising(error):
    def call(*arguments):
        raise error

    return call


def test_a_picture_is_decoded_and_prepared(tmp_path):
    Image.fromarray(np.full((2, 2, 3), 50, dtype=np.uint8)).save(tmp_path / "a.png")
    assert _read(tmp_path / "a.png").inputs["size"].tolist() == [50.0]


@pytest.mark.parametrize("modality", [Modality.IMAGE, Modality.VIDEO, Modality.AUDIO])
def test_a_corrupt_file_is_quarantined_with_the_decoders_reason(tmp_path, modality):
    (tmp_path / "a").write_bytes(b"")
    outcome = _read(tmp_path / "a", modality=modality)
    assert (outcome.status, outcome.inputs) == (ItemStatus.QUARANTINED, None)
    assert outcome.reason.startswith("empty-file: ")


@pytest.mark.parametrize("modality", [Modality.IMAGE, Modality.VIDEO, Modality.AUDIO])
def test_a_file_that_vanished_is_missing(modality):
    outcome = _read("/nowhere/a", modality=modality)
    assert (outcome.status, outcome.reason) == (
        ItemStatus.MISSING,
        "missing: no file at the path that the dataset gives",
    )


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(5, "a text of the library"), "unreadable: Input/output error"),
        (MemoryError("no room"), "over-memory: decoding: no room"),
        (MemoryError(), "over-memory: decoding: no memory left"),
    ],
)
def test_a_file_that_cannot_be_read_is_quarantined(monkeypatch, error, reason):
    monkeypatch.setattr(item, "decode_image", _raising(error))
    outcome = _read("/media/a")
    assert (outcome.status, outcome.reason) == (ItemStatus.QUARANTINED, reason)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("a text that quotes the input"), "unusable-input: ValueError"),
        (DataError("expected 4 frames, found 3"), "unusable-input: expected 4 frames, found 3"),
        (MemoryError("no room"), "over-memory: preparing: no room"),
    ],
)
def test_an_input_the_preparer_refuses_is_quarantined(tmp_path, error, reason):
    Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(tmp_path / "a.png")
    outcome = _read(tmp_path / "a.png", _raising(error))
    assert (outcome.status, outcome.reason) == (ItemStatus.QUARANTINED, reason)


def test_a_bug_is_not_taken_for_a_bad_medium(tmp_path):
    Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(TypeError):
        _read(tmp_path / "a.png", _raising(TypeError("bug")))
