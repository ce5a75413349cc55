"""What the user typed is read once, at the door, and refused by name."""

from __future__ import annotations

import pytest

from crossan.cache_schema.errors import UsageError
from crossan.cache_schema.modality import Modality
from crossan.extract.job.request import JobRequest, backbone_source, parse_choice, parse_modalities, parse_share


def test_modalities_come_in_the_fixed_order_without_repeats():
    assert parse_modalities("audio, text,audio") == (Modality.TEXT, Modality.AUDIO)
    assert parse_modalities("all") == tuple(Modality)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("vidoe", r"--modality vidoe: expected text, image, video, audio or all, got 'vidoe'; did you mean 'video'\?"),
        ("text,,image", r"got ''"),
        ("text,all", r"got 'all'"),
        ("smell", r"got 'smell'$"),
    ],
)
def test_an_unknown_modality_names_the_nearest(text, message):
    with pytest.raises(UsageError, match=message):
        parse_modalities(text)


@pytest.mark.parametrize(("text", "share"), [("1%", 0.01), ("0.01", 0.01), ("0", 0.0), ("100%", 1.0), ("2.5%", 0.025)])
def test_a_share_is_read_as_percent_or_fraction(text, share):
    assert parse_share(text, "--max-bad") == pytest.approx(share)


@pytest.mark.parametrize("text", ["5", "101%", "-1%", "few", "", "nan", "%"])
def test_a_share_outside_its_range_is_refused(text):
    with pytest.raises(UsageError, match=r"--max-bad .*: expected a share such as 1% or 0.01"):
        parse_share(text, "--max-bad")


def test_a_wrong_choice_names_the_nearest():
    with pytest.raises(UsageError, match=r"--codec zst: expected one of raw, zstd; did you mean 'zstd'\?"):
        parse_choice("zst", "--codec", ("raw", "zstd"))


def test_the_batch_size_asked_for_wins(tmp_path):
    assert JobRequest(dataset=tmp_path, cache=tmp_path).batch_size_for(Modality.TEXT) == 64
    assert JobRequest(dataset=tmp_path, cache=tmp_path, batch_size=3).batch_size_for(Modality.TEXT) == 3


def test_a_folder_of_backbones_gives_each_modality_its_own(tmp_path):
    (tmp_path / "image").mkdir()
    (tmp_path / "text").mkdir()
    asked = (Modality.TEXT, Modality.IMAGE)
    assert backbone_source(str(tmp_path), Modality.IMAGE, asked) == str(tmp_path / "image")
    assert backbone_source(str(tmp_path), Modality.IMAGE, (Modality.IMAGE,)) == str(tmp_path / "image")


def test_a_folder_with_a_configuration_is_itself_the_backbone(tmp_path):
    (tmp_path / "text").mkdir()
    (tmp_path / "config.json").write_text("{}")
    assert backbone_source(str(tmp_path), Modality.TEXT, (Modality.TEXT,)) == str(tmp_path)
    assert backbone_source(None, Modality.TEXT, tuple(Modality)) is None


def test_one_backbone_for_several_modalities_is_refused():
    with pytest.raises(UsageError, match="--backbone some/model: one backbone cannot serve text, image"):
        backbone_source("some/model", Modality.TEXT, (Modality.TEXT, Modality.IMAGE))
