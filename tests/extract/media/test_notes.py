"""What is odd about a clip, said of exactly those that are."""

import pickle

import pytest

from crossan.extract.media import MediaError, MediaFault, MediaNote
from crossan.extract.media.audio import open_sound
from crossan.extract.media.tracks import read_tracks_at
from crossan.extract.media.video import open_frames

EVEN = [round(1000 * k / 30) for k in range(100)]


def notes_of(path, *, skips=True):
    (found,) = read_tracks_at(path, [open_frames(path, 16, skips=skips)])
    return set(found.notes)


@pytest.mark.parametrize("skips", [True, False])
@pytest.mark.parametrize(
    ("odd", "notes"),
    [
        ({}, set()),
        ({"color_trc": 16}, {MediaNote.HDR}),  # PQ
        ({"color_trc": 18}, {MediaNote.HDR}),  # HLG
        ({"color_trc": 1}, set()),  # BT.709
        ({"turn": 90}, {MediaNote.ROTATED}),
        ({"turn": 180, "color_trc": 18}, {MediaNote.ROTATED, MediaNote.HDR}),
        ({"times": EVEN[:30]}, {MediaNote.PADDED}),
        (
            {"times": [time for k, time in enumerate(EVEN) if k % 3 or k > 60]},
            {MediaNote.VARIABLE_FRAME_RATE},
        ),
        ({"times": [time for k, time in enumerate(EVEN) if k != 40]}, set()),  # one lost frame
        (
            {"times": [time for k, time in enumerate(EVEN) if k < 90 or k % 3]},
            set(),
        ),  # after the clip
        ({"times": EVEN[:88]}, set()),  # until 2.93 s; the last moment is at 2.91 s
    ],
)
def test_notes(tmp_path, video_of, scenes_of, odd, notes, skips):
    settings = {"times": EVEN, **odd}
    times = settings.pop("times")
    path = video_of(tmp_path / "v.mp4", times, levels=scenes_of(len(times)), **settings)
    assert notes_of(path, skips=skips) == notes


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".webm"])
@pytest.mark.parametrize(
    ("held_ms", "notes"), [(100, {MediaNote.PADDED}), (2_600, {MediaNote.PADDED}), (2_800, set())]
)
def test_a_last_frame_that_is_held_stands_in_for_nothing(
    tmp_path, video_of, suffix, held_ms, notes
):
    # The last frame begins at 0.2 s; the last moment is at 2.91 s.
    codec = "libvpx" if suffix == ".webm" else "mpeg4"
    path = video_of(tmp_path / f"v{suffix}", [0, 100, 200], codec=codec, held_ms=held_ms)
    assert notes_of(path) == notes


@pytest.mark.parametrize(("seconds", "notes"), [(1.0, (MediaNote.PADDED,)), (3.0, ()), (4.0, ())])
@pytest.mark.parametrize("rate", [16_000, None])
def test_a_short_sound_is_noted(tmp_path, sound_of, seconds, notes, rate):
    path = sound_of(tmp_path / "s.wav", seconds, rate=22_050)
    (found,) = read_tracks_at(path, [open_sound(rate)])
    assert found.notes == notes
    assert found.sampling_rate == (rate or 22_050)


def test_real_videos(test_data):
    folder = test_data / "edge_media/video"
    assert MediaNote.ROTATED in notes_of(folder / "decord_video_90.mov")
    assert notes_of(folder / "mmaction2_part_0_1s.mp4") == {MediaNote.PADDED}
    assert notes_of(test_data / "microlens50k/videos/10040.mp4") == set()


def test_a_fault_comes_home_from_a_worker_process():
    fault = pickle.loads(pickle.dumps(MediaError(MediaFault.CRASHED, "signal 11")))
    assert (fault.reason, fault.detail, str(fault)) == (
        MediaFault.CRASHED,
        "signal 11",
        "crashed: signal 11",
    )
    assert [MediaFault.OVER_MEMORY.value, MediaFault.OVER_TIME.value] == [
        "over-memory",
        "over-time",
    ]
