"""What the user typed is read once, at the door, and refused by name."""

from __future__ import annotations

import pytest

from crossan.cache_schema.errors import UsageError
from crossan.cache_schema.modality import Modality
from crossan.extract.job.request import (
    JobRequest,
    backbone_source,
    decoded_together,
    parse_batch_size,
    parse_limits,
    parse_share,
)


@pytest.mark.parametrize(
    ("text", "share"), [("1%", 0.01), ("0.01", 0.01), ("0", 0.0), ("100%", 1.0), ("2.5%", 0.025)]
)
def test_a_share_is_read_as_percent_or_fraction(text, share):
    assert parse_share(text, "--max-bad") == pytest.approx(share)


@pytest.mark.parametrize("text", ["5", "101%", "-1%", "few", "", "nan", "%"])
def test_a_share_outside_its_range_is_refused(text):
    with pytest.raises(UsageError, match=r"--max-bad .*: expected a share such as 1% or 0.01"):
        parse_share(text, "--max-bad")


@pytest.mark.parametrize(
    ("text", "expected"),
    [(None, (None, False)), ("auto", (None, True)), ("1", (1, False)), ("4096", (4096, False))],
)
def test_a_batch_size_is_a_number_or_auto(text, expected):
    assert parse_batch_size(text) == expected


@pytest.mark.parametrize("text", ["0", "-1", "many", "", "1.5", "08"])
def test_another_batch_size_is_refused(text):
    with pytest.raises(
        UsageError, match=r"--batch-size .*: expected a whole number of items, or auto"
    ):
        parse_batch_size(text)


def test_limits_are_read_with_their_unit_and_leave_time_for_waiting():
    limits = parse_limits(2.5, "3GiB")
    assert (limits.seconds, limits.wall_seconds, limits.memory_bytes) == (2.5, 25.0, 3 * 2**30)
    assert [parse_limits(1, text).memory_bytes for text in ("7", "7KiB", "7MiB")] == [
        7,
        7 * 2**10,
        7 * 2**20,
    ]


@pytest.mark.parametrize(
    ("seconds", "memory", "message"),
    [
        (0, "1GiB", "--item-seconds 0: expected a number of seconds above 0"),
        (float("nan"), "1GiB", "--item-seconds nan"),
        (1, "0", "--item-memory 0: expected a size such as 4GiB or 500MiB"),
        (1, "4GB", "--item-memory 4GB"),
        (1, "-1GiB", "--item-memory -1GiB"),
    ],
)
def test_limits_that_let_nothing_pass_are_refused(seconds, memory, message):
    with pytest.raises(UsageError, match=message):
        parse_limits(seconds, memory)


def test_workers_are_as_many_as_asked_for_or_one_per_core(tmp_path):
    assert JobRequest(dataset=tmp_path, cache=tmp_path, num_workers=3).worker_count == 3
    assert 1 <= JobRequest(dataset=tmp_path, cache=tmp_path).worker_count <= 16


def test_sound_and_video_are_done_together_and_everything_else_alone():
    text, image, video, audio = Modality
    assert decoded_together((text, image, video, audio)) == [(text,), (image,), (video, audio)]
    assert decoded_together((image, audio)) == [(image,), (audio,)]


def test_a_folder_of_backbones_gives_each_modality_its_own(tmp_path):
    (tmp_path / "image").mkdir()
    (tmp_path / "text").mkdir()
    asked = (Modality.TEXT, Modality.IMAGE)
    assert backbone_source(str(tmp_path), Modality.IMAGE, asked) == str(tmp_path / "image")
    assert backbone_source(str(tmp_path), Modality.IMAGE, (Modality.IMAGE,)) == str(
        tmp_path / "image"
    )


def test_a_folder_with_a_configuration_is_itself_the_backbone(tmp_path):
    (tmp_path / "text").mkdir()
    (tmp_path / "config.json").write_text("{}")
    assert backbone_source(str(tmp_path), Modality.TEXT, (Modality.TEXT,)) == str(tmp_path)
    assert backbone_source(None, Modality.TEXT, tuple(Modality)) is None


def test_one_backbone_for_several_modalities_is_refused():
    with pytest.raises(
        UsageError, match="--backbone some/model: one backbone cannot serve text, image"
    ):
        backbone_source("some/model", Modality.TEXT, (Modality.TEXT, Modality.IMAGE))
