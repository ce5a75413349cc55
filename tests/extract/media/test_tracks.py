"""One pass for frames and sound, and frames left undecoded: the same values as one stream with every frame decoded."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crossan.extract.media import (
    AbsentMedium,
    MediaError,
    MediaFault,
    decode_audio,
    decode_video,
    tracks,
    video,
)
from crossan.extract.media.audio import open_sound
from crossan.extract.media.choosing import FrameChooser
from crossan.extract.media.containers import open_container
from crossan.extract.media.tracks import Decoded, read_tracks_at
from crossan.extract.media.video import open_frames
from support.counts import of_full

RATE = 16_000


def outcome(step):
    try:
        return step()
    except (MediaError, AbsentMedium) as error:
        return type(error), str(error)


def plain(found):
    return found.values if isinstance(found, Decoded) else (type(found), str(found))


def is_same(first, second):
    if isinstance(first, tuple) or isinstance(second, tuple):
        return type(first) is type(second) and first == second
    return (
        first.dtype == second.dtype
        and first.shape == second.shape
        and first.tobytes() == second.tobytes()
    )


def read_jointly(path, frame_count=16):
    frames, sound = read_tracks_at(path, [open_frames(path, frame_count), open_sound(RATE)])
    return plain(frames), plain(sound)


def read_singly(path, frame_count=16):
    (thorough,) = read_tracks_at(path, [open_frames(path, frame_count, skips=False)])
    single = outcome(lambda: decode_video(path, frame_count=frame_count))
    assert is_same(single, plain(thorough))
    return single, outcome(lambda: decode_audio(path, sampling_rate=RATE))


def agree(path, frame_count=16):
    return all(map(is_same, read_jointly(path, frame_count), read_singly(path, frame_count)))


@pytest.fixture
def seen(monkeypatch):
    """Return a list that gets an entry for each frame that a decoder gives."""
    seen, see = [], FrameChooser.see

    def record(self, frame):
        seen.append(frame.pts)
        see(self, frame)

    monkeypatch.setattr(FrameChooser, "see", record)
    return seen


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rate=st.sampled_from([12, 24, 25, 30, 50, 60]),
    seconds=st.floats(0.1, 3.6),
    frame_count=st.sampled_from([2, 8, 16, 32]),
    codec=st.sampled_from(["libx264", "libx265", "mpeg4"]),
    sound_s=st.sampled_from([0.0, 0.4, 3.5]),
)
def test_one_pass_gives_what_two_give(
    tmp_path, video_of, scenes_of, rate, seconds, frame_count, codec, sound_s
):
    times = [round(1000 * k / rate) for k in range(max(1, round(rate * seconds)))]
    path = tmp_path / "v.mp4"
    quiet = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    video_of(path, times, levels=scenes_of(len(times)), codec=codec, sound_s=sound_s, options=quiet)
    assert agree(path, frame_count)


def test_a_file_is_opened_once(tmp_path, video_of, scenes_of, monkeypatch):
    path = video_of(
        tmp_path / "v.mp4", [100 * k for k in range(35)], levels=scenes_of(35), sound_s=3.5
    )
    opened = []
    monkeypatch.setattr(
        tracks, "open_container", lambda path: opened.append(path) or open_container(path)
    )
    frames, sound = read_jointly(path)
    assert (len(frames), len(sound), opened) == (16, 3 * RATE, [path])


def test_frames_that_nobody_needs_are_not_decoded(tmp_path, video_of, scenes_of, seen):
    # 60 frames per second, two of three referred to by no other: 16 chosen of 180.
    times = [round(1000 * k / 60) for k in range(220)]
    options = {"bf": "2", "b_strategy": "0", "x264-params": "b-pyramid=0:scenecut=0:keyint=250"}
    path = video_of(tmp_path / "v.mp4", times, levels=scenes_of(220), options=options)
    frames = decode_video(path, frame_count=16)
    skipping = len(seen)
    (thorough,) = read_tracks_at(path, [open_frames(path, 16, skips=False)])
    assert is_same(frames, thorough.values)
    assert len(seen) - skipping >= 175
    assert skipping < 90


@pytest.mark.parametrize("doubt", ["pts", "order", "corrupt"])
def test_a_decoder_that_does_not_follow_the_plan_is_not_believed(
    tmp_path, video_of, scenes_of, monkeypatch, doubt
):
    times = [round(1000 * k / 30) for k in range(100)]
    path = video_of(tmp_path / "v.mp4", times, levels=scenes_of(100))
    expected = decode_video(path, frame_count=8)

    class Lying:
        def __init__(self, frame):
            self._frame = frame

        def __getattr__(self, name):
            return getattr(self._frame, name)

        is_corrupt = property(lambda self: doubt == "corrupt")
        pts = property(lambda self: self._frame.pts + (doubt == "pts"))

    see_all, read = video._FrameTrack._see_all, []

    def see_lies(self, frames, shown):
        frames = [Lying(frame) for frame in frames]
        see_all(self, frames[:1] * 2 + frames[1:] if doubt == "order" else frames, shown)

    monkeypatch.setattr(video._FrameTrack, "_see_all", see_lies)
    monkeypatch.setattr(
        video, "read_tracks_at", lambda *given: read.append(given) or read_tracks_at(*given)
    )
    assert is_same(decode_video(path, frame_count=8), expected)
    assert len(read) == 2


def test_frames_with_a_gap_after_the_clip_are_whole(tmp_path, video_of):
    # The last frame of the clip is shown from 1 s to 9 s: nothing is torn, and nothing stands in for anything.
    path = video_of(tmp_path / "v.mp4", [0, 500, 1000, 9000, 9500], levels=[10, 60, 110, 160, 210])
    (found,) = read_tracks_at(path, [open_frames(path, 3)])
    assert [round(float(frame.mean()) / 10) for frame in found.values] == [6, 11, 11]
    assert "padded" not in found.notes


def test_a_broken_sound_track_leaves_the_frames(tmp_path, video_of, scenes_of):
    path = video_of(
        tmp_path / "v.mp4", [100 * k for k in range(35)], levels=scenes_of(35), sound_s=3.5
    )
    whole, _ = read_jointly(path)
    path.write_bytes(path.read_bytes().replace(b"mp4a", b"zzzz").replace(b"esds", b"zzzz"))
    frames, sound = read_jointly(path)
    assert is_same(frames, whole)
    assert sound == (MediaError, "unknown-codec: FFmpeg has no decoder for the audio stream")
    assert agree(path)


def test_a_broken_video_stream_leaves_the_sound(tmp_path, video_of, scenes_of):
    path = video_of(
        tmp_path / "v.mp4", [100 * k for k in range(35)], levels=scenes_of(35), sound_s=3.5
    )
    _, whole = read_jointly(path)
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz"))
    frames, sound = read_jointly(path)
    assert is_same(sound, whole)
    assert frames == (MediaError, "unknown-codec: FFmpeg has no decoder for the video stream")


def test_a_pixel_bomb_leaves_the_sound(tmp_path, video_of, scenes_of, monkeypatch):
    path = video_of(
        tmp_path / "v.mp4", [100 * k for k in range(35)], levels=scenes_of(35), sound_s=3.5
    )
    monkeypatch.setattr("crossan.extract.media.choosing.PIXEL_CAP", 3_000)
    frames, sound = read_tracks_at(path, [open_frames(path, 16), open_sound(RATE)])
    assert frames.reason is MediaFault.TOO_MANY_PIXELS
    assert len(sound.values) == 3 * RATE


def test_a_fault_of_the_file_is_that_of_both(tmp_path):
    (tmp_path / "v.mp4").write_text("#EXTM3U")
    found = read_tracks_at(
        tmp_path / "v.mp4", [open_frames(tmp_path / "v.mp4", 16), open_sound(RATE)]
    )
    assert [fault.reason for fault in found] == [MediaFault.UNKNOWN_CONTAINER] * 2
    with pytest.raises(FileNotFoundError):
        read_tracks_at(tmp_path / "nothing.mp4", [open_sound(RATE)])


@settings(
    max_examples=of_full(40, 15),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.data())
def test_of_a_damaged_file_one_pass_gives_what_two_give(tmp_path, video_of, scenes_of, data):
    source = tmp_path / "source.mp4"
    if not source.exists():
        video_of(
            source, [round(1000 * k / 30) for k in range(100)], levels=scenes_of(100), sound_s=3.3
        )
    content = bytearray(source.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "v.mp4"
    path.write_bytes(content[: data.draw(st.integers(len(content) // 8, len(content)))])
    assert agree(path)


@pytest.mark.exhaustive
def test_of_real_files_one_pass_gives_what_two_give(test_data):
    paths = [
        *sorted((test_data / "microlens50k/videos").iterdir())[:1],
        *sorted((test_data / "edge_media/video").iterdir()),
        *sorted((test_data / "bench_microlens_mm/video").iterdir())[:12],
        *sorted((test_data / "edge_media/audio").iterdir()),
    ]
    assert [path.name for path in paths if not agree(path)] == []
    assert np.asarray(read_jointly(paths[0])[1]).size == 3 * RATE
