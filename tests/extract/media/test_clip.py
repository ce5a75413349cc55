"""One file's clip: what is wanted and no more, and the same whether it was decoded now or kept before."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crossan.cache_schema.errors import ResourceError
from crossan.cache_schema.modality import Modality
from crossan.common.contents.digests import content_digest
from crossan.extract.media import (
    AbsentMedium,
    ClipReader,
    MediaError,
    MediaFault,
    MediaNote,
    clip,
    decode_audio,
    decode_video,
    media_recipe,
)
from crossan.extract.media.clip_parts import pack_frames, pack_sound, unpack_frames, unpack_sound

FRAMES, SOUND = frozenset({Modality.VIDEO}), frozenset({Modality.AUDIO})
BOTH = FRAMES | SOUND
RATE = 16_000
EVEN = [round(1000 * k / 30) for k in range(100)]


@pytest.fixture
def path(tmp_path, video_of, scenes_of):
    return video_of(tmp_path / "v.mp4", EVEN, levels=scenes_of(100), sound_s=3.3)


@pytest.fixture
def decoded(monkeypatch):
    """Return a list that gets the number of tracks of each file that is decoded."""
    decoded, read = [], clip.read_tracks_at
    monkeypatch.setattr(
        clip,
        "read_tracks_at",
        lambda path, openers: decoded.append(len(openers)) or read(path, openers),
    )
    return decoded


def is_same(first, second):
    return first.media.keys() == second.media.keys() and all(
        np.array_equal(first.media[key], second.media[key])
        if isinstance(first.media[key], np.ndarray)
        else repr(first.media[key]) == repr(second.media[key])
        for key in first.media
    )


def test_without_a_folder_a_clip_is_what_the_decoders_give(path):
    found = ClipReader(frame_count=8, sampling_rate=RATE).read(path, None, BOTH)
    assert np.array_equal(found.medium(Modality.VIDEO), decode_video(path, frame_count=8))
    assert np.array_equal(found.medium(Modality.AUDIO), decode_audio(path, sampling_rate=RATE))
    assert found.notes == {}


def test_only_what_is_wanted_is_there(path):
    found = ClipReader(frame_count=8, sampling_rate=RATE).read(path, None, SOUND)
    assert found.media.keys() == SOUND
    with pytest.raises(KeyError):
        found.medium(Modality.VIDEO)


def test_a_sound_file_has_sound_and_no_frames(tmp_path, sound_of):
    path = sound_of(tmp_path / "s.flac", 1.0)
    found = ClipReader(frame_count=8, sampling_rate=RATE, cache=tmp_path / "clips").read(
        path, "ab" * 32, BOTH
    )
    assert found.medium(Modality.AUDIO).shape == (RATE,)
    assert found.notes == {Modality.AUDIO: (MediaNote.PADDED,)}
    with pytest.raises(MediaError, match="no-video-stream"):
        found.medium(Modality.VIDEO)


def test_a_reader_refuses_what_it_was_not_made_for(path):
    with pytest.raises(ValueError, match="cannot read video"):
        ClipReader(sampling_rate=RATE).read(path, None, BOTH)
    with pytest.raises(ValueError, match="expected video and audio, got image, video"):
        ClipReader(frame_count=2).read(path, None, frozenset({Modality.VIDEO, Modality.IMAGE}))


@pytest.mark.parametrize("cache", [None, "clips"])
def test_a_gap_is_not_found(tmp_path, cache):
    reader = ClipReader(8, RATE, None if cache is None else tmp_path / cache)
    with pytest.raises(FileNotFoundError):
        reader.read(tmp_path / "nothing.mp4", "ab" * 32, BOTH)


def test_reader_and_clip_travel_between_processes(path, tmp_path):
    reader = pickle.loads(pickle.dumps(ClipReader(8, RATE, tmp_path / "clips")))
    found = reader.read(path, content_digest(path), BOTH)
    assert is_same(pickle.loads(pickle.dumps(found)), found)


def test_a_kept_clip_is_not_decoded_again_and_has_the_same_values(path, tmp_path, decoded):
    reader, digest = ClipReader(8, RATE, tmp_path / "clips"), content_digest(path)
    made, kept = reader.read(path, digest, BOTH), reader.read(Path("/gone"), digest, BOTH)
    assert is_same(made, kept)
    assert made.notes == kept.notes
    assert decoded == [2]
    # Without a digest nothing is kept, but the values are those that would be.
    assert is_same(reader.read(path, None, BOTH), made)
    assert decoded == [2, 2]


def test_frames_bring_the_sound_along_and_sound_comes_alone(path, tmp_path, decoded):
    digest = content_digest(path)
    reader = ClipReader(8, RATE, tmp_path / "a")
    reader.read(path, digest, FRAMES)
    reader.read(path, digest, SOUND)
    assert decoded == [2]
    reader = ClipReader(None, RATE, tmp_path / "b")
    reader.read(path, digest, SOUND)
    both = ClipReader(8, RATE, tmp_path / "b").read(path, digest, BOTH)
    assert decoded == [2, 1, 1]
    assert is_same(both, ClipReader(8, RATE, tmp_path / "a").read(path, digest, BOTH))


def test_a_kept_sound_serves_every_sampling_rate(path, tmp_path, decoded):
    digest = content_digest(path)
    for rate in (8_000, RATE, 24_000, 48_000):
        (found,) = (
            ClipReader(None, rate, tmp_path / "clips").read(path, digest, SOUND).media.values()
        )
        assert abs(found - decode_audio(path, sampling_rate=rate)).max() < 2e-4
    assert decoded == [1]


def test_frame_counts_do_not_share_frames_but_share_sound(path, tmp_path, decoded):
    digest = content_digest(path)
    assert len(ClipReader(4, RATE, tmp_path).read(path, digest, FRAMES).medium(Modality.VIDEO)) == 4
    assert len(ClipReader(8, RATE, tmp_path).read(path, digest, BOTH).medium(Modality.VIDEO)) == 8
    assert decoded == [2, 1]


def test_notes_and_absence_are_kept(tmp_path, video_of, scenes_of, decoded):
    path = video_of(tmp_path / "v.mp4", EVEN[:20], levels=scenes_of(20), color_trc=16, turn=90)
    reader, digest = ClipReader(4, RATE, tmp_path / "clips"), content_digest(path)
    for _ in range(2):
        found = reader.read(path, digest, BOTH)
        assert found.notes == {Modality.VIDEO: (MediaNote.HDR, MediaNote.PADDED, MediaNote.ROTATED)}
        assert found.medium(Modality.VIDEO).shape == (4, 64, 48, 3)
        with pytest.raises(AbsentMedium, match="the video has no sound track"):
            found.medium(Modality.AUDIO)
    assert decoded == [2]


def test_a_fault_is_not_kept_and_leaves_the_other_stream(path, tmp_path, decoded):
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz"))
    reader, digest = ClipReader(4, RATE, tmp_path / "clips"), content_digest(path)
    for _ in range(2):
        found = reader.read(path, digest, BOTH)
        assert found.media[Modality.VIDEO].reason is MediaFault.UNKNOWN_CODEC
        assert found.medium(Modality.AUDIO).shape == (3 * RATE,)
    assert decoded == [2, 1]


def test_a_full_disk_is_our_error_not_the_item_s(path, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("crossan.common.files.os.write", fail)
    with pytest.raises(ResourceError, match="no space left while writing"):
        ClipReader(4, RATE, tmp_path / "clips").read(path, "ab" * 32, BOTH)
    monkeypatch.undo()
    assert [file for file in (tmp_path / "clips").rglob("*") if file.is_file()] == []
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(
        ResourceError, match=r"(?s)--clips .*file: cannot write .*Name a folder that can be written"
    ):
        ClipReader(4, RATE, tmp_path / "file").read(path, "ab" * 32, BOTH)


def test_frames_keep_their_shape_and_are_never_enlarged():
    ramp = np.linspace(0, 255, 640).astype(np.uint8)
    wide = np.broadcast_to(ramp[None, None, :, None], (2, 300, 640, 3)).copy()
    kept = unpack_frames(pack_frames(wide))
    assert kept.shape == (2, 224, 477, 3)  # 640 * 224 / 300 = 477.9
    assert (
        abs(
            kept[0, 100].astype(int)
            - np.interp(np.arange(477), np.arange(640) * 477 / 640, ramp)[:, None]
        ).max()
        < 4
    )
    assert unpack_frames(pack_frames(wide.transpose(0, 2, 1, 3))).shape == (2, 477, 224, 3)
    assert unpack_frames(pack_frames(wide[:, :100, :150])).shape == (2, 100, 150, 3)
    with pytest.raises(MediaError, match=r"too-many-pixels: 66,000 x 2: expected at most 65,500"):
        pack_frames(np.zeros((1, 2, 66_000, 3), np.uint8))


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.sampled_from([1_000, 8_000, 11_025, 22_050, 44_100, 48_000]),
    st.integers(40, 3_000),
    st.integers(0, 99),
)
def test_any_sound_comes_back_to_sixteen_bits(rate, milliseconds, seed):
    count = round(rate * milliseconds / 1000)
    samples = np.random.default_rng(seed).uniform(-1.2, 1.2, count).astype(np.float32)
    part, full_scale = pack_sound(samples, rate)
    back = unpack_sound(part, full_scale, rate)
    assert (len(back.values), back.sampling_rate, full_scale) == (
        count,
        rate,
        max(1.0, float(abs(samples).max())),
    )
    assert abs(back.values - samples).max() <= 1.01 * full_scale / 32_768


def test_a_recipe_says_that_clips_were_used_only_where_they_were():
    for modality in Modality:
        plain = media_recipe(modality, sampling_rate=RATE, frame_count=16)
        clipped = media_recipe(modality, sampling_rate=RATE, frame_count=16, is_clipped=True)
        assert "clip_kept_as" not in plain
        assert {key: value for key, value in clipped.items() if key != "clip_kept_as"} == plain
        assert ("clip_kept_as" in clipped) is (modality in BOTH)


def test_identities_without_clips_are_those_of_before():
    assert media_recipe(Modality.VIDEO, sampling_rate=None, frame_count=16) == {
        "decoder": "pyav",
        "revision": 1,
        "clip_start_s": 0.0,
        "clip_length_s": 3.0,
        "frame_rule": "shown at the middle of equal parts, the last repeated",
        "frame_count": 16,
        "rotation": "display matrix applied",
        "colour": "rgb24 by swscale",
        "pixel_cap": 64_000_000,
    }
    assert media_recipe(Modality.AUDIO, sampling_rate=RATE, frame_count=None) == {
        "decoder": "pyav",
        "revision": 2,
        "clip_start_s": 0.0,
        "clip_length_s": 3.0,
        "resampler": "swresample",
        "channels": "mean",
        "sampling_rate": RATE,
    }


def test_real_files_are_kept_as_they_are_made(test_data, tmp_path, decoded):
    reader = ClipReader(16, RATE, tmp_path)
    paths = [
        test_data / "microlens50k/videos/10040.mp4",
        *sorted((test_data / "edge_media/video").iterdir()),
        *sorted((test_data / "edge_media/audio").iterdir())[:4],
    ]
    for path in paths:
        digest = content_digest(path)
        assert is_same(reader.read(path, digest, BOTH), reader.read(path, digest, BOTH)), path.name
    first = reader.read(paths[0], content_digest(paths[0]), BOTH)
    assert first.medium(Modality.VIDEO).shape == (16, 224, 398, 3)
    assert first.medium(Modality.AUDIO).shape == (3 * RATE,)
