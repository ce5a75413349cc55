"""Decoders against media written for the purpose: which frame, which sample, which fault."""

import io

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from crossan.cache_schema.modality import ItemStatus
from crossan.extract.media import (
    AbsentMedium,
    MediaError,
    MediaFault,
    decode_audio,
    decode_image,
    decode_video,
)
from crossan.extract.media.beginnings import sniff_container
from crossan.extract.media.probe import probe_audio
from crossan.extract.media.recipe import frame_times
from support.counts import of_full


def levels_of(frames):
    return [round(float(frame.mean()) / 10) for frame in frames]


def save(path, image, **options):
    image.save(path, **options)
    return path


def test_frame_times_are_the_middles_of_equal_parts():
    assert frame_times(3) == [0.5, 1.5, 2.5]


def test_frames_are_chosen_by_time_not_by_count(tmp_path, video_of):
    # Shown at 0 s, 0.1 s, 0.2 s, then 2 s: at 0.5 and 1.5 s the third is on the screen, at 2.5 s the fourth.
    path = video_of(tmp_path / "v.mp4", [0, 100, 200, 2000, 2900], levels=[10, 60, 110, 160, 210])
    assert levels_of(decode_video(path, frame_count=3)) == [11, 11, 16]


@pytest.mark.parametrize("rate", [12, 24, 60])
def test_the_frame_rate_does_not_matter(tmp_path, video_of, rate):
    times = [round(1000 * k / rate) for k in range(4 * rate)]
    path = video_of(
        tmp_path / "v.mp4", times, levels=[min(250, 60 * (time // 1000) + 10) for time in times]
    )
    assert levels_of(decode_video(path, frame_count=3)) == [1, 7, 13]


def test_a_short_clip_repeats_its_last_frame(tmp_path, video_of):
    path = video_of(tmp_path / "v.mp4", [0, 500], levels=[50, 200])
    assert levels_of(decode_video(path, frame_count=6)) == [5, 20, 20, 20, 20, 20]


def test_only_the_first_three_seconds_are_seen(tmp_path, video_of):
    path = video_of(
        tmp_path / "v.mp4", [1000 * k for k in range(8)], levels=[10 + 30 * k for k in range(8)]
    )
    assert levels_of(decode_video(path, frame_count=3)) == [1, 4, 7]


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3"])
def test_sound_keeps_its_pitch_and_loses_what_follows_three_seconds(tmp_path, sound_of, suffix):
    rate = 48_000 if suffix == ".ogg" else 44_100
    path = sound_of(tmp_path / f"s{suffix}", 4.0, rate=rate, frequency=1000.0, channels=2)
    samples = decode_audio(path, sampling_rate=16_000)
    assert samples.shape == (48_000,)
    assert samples.dtype == np.float32
    spectrum = np.abs(np.fft.rfft(samples[8_000:24_000]))
    assert int(spectrum.argmax()) == 1000  # one second: bin = Hz
    assert float(np.abs(samples).max()) == pytest.approx(0.5, abs=0.05)


def test_a_short_sound_stays_short(tmp_path, sound_of):
    assert decode_audio(sound_of(tmp_path / "s.wav", 0.5), sampling_rate=16_000).shape == (8_000,)


def test_the_sound_track_of_a_video(tmp_path, video_of):
    with_sound = video_of(tmp_path / "a.mp4", [0, 500, 1000], sound_s=1.5)
    without = video_of(tmp_path / "b.mp4", [0, 500, 1000])
    assert decode_audio(with_sound, sampling_rate=16_000).size > 20_000
    with pytest.raises(AbsentMedium, match="no sound track"):
        decode_audio(without, sampling_rate=16_000)
    assert probe_audio(without) is ItemStatus.ABSENT
    assert probe_audio(with_sound) is ItemStatus.OK


@pytest.mark.parametrize(
    ("mode", "colour", "expected", "suffix"),
    [
        ("L", 77, (77, 77, 77), ".png"),
        ("RGBA", (10, 20, 30, 0), (10, 20, 30), ".png"),
        ("CMYK", (0, 0, 0, 0), (255, 255, 255), ".jpg"),
        ("P", 0, (0, 0, 0), ".gif"),
        ("RGB", (200, 100, 50), (200, 100, 50), ".webp"),
    ],
)
def test_every_colour_mode_becomes_rgb(tmp_path, mode, colour, expected, suffix):
    options = {"lossless": True} if suffix == ".webp" else {}
    image = decode_image(save(tmp_path / f"i{suffix}", Image.new(mode, (3, 2), colour), **options))
    assert (image.mode, image.size, image.getpixel((0, 0))) == ("RGB", (3, 2), expected)


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path):
    path = save(tmp_path / "i.png", Image.fromarray(np.full((2, 2), 257 * 100, np.uint16)))
    assert decode_image(path).getpixel((0, 0)) == (100, 100, 100)


def test_exif_rotation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode_image(save(tmp_path / "i.jpg", Image.new("RGB", (40, 20)), exif=exif)).size == (
        20,
        40,
    )


def test_the_pixel_cap_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr("crossan.extract.media.image.PIXEL_CAP", 100)
    with pytest.raises(MediaError, match=r"too-many-pixels: 11 x 10 = 110 pixels > 100"):
        decode_image(save(tmp_path / "i.png", Image.new("RGB", (11, 10))))


def test_a_list_of_other_files_named_mp4_is_not_opened(tmp_path, video_of):
    target = video_of(tmp_path / "secret.mp4", [0, 500])
    for text in (f"ffconcat version 1.0\nfile {target}\n", f"#EXTM3U\n#EXTINF:3,\n{target}\n"):
        disguised = tmp_path / "v.mp4"
        disguised.write_text(text)
        with pytest.raises(
            MediaError, match="unknown-container: no known container begins like this"
        ):
            decode_video(disguised, frame_count=2)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", MediaFault.EMPTY_FILE),
        (b"hello, I am text", MediaFault.UNKNOWN_CONTAINER),
        (b"\0\0\0\x18ftypmp42" + b"\0" * 64, None),
    ],
)
@pytest.mark.parametrize(
    "decode",
    [
        decode_image,
        lambda p: decode_audio(p, sampling_rate=16_000),
        lambda p: decode_video(p, frame_count=4),
    ],
)
def test_files_that_are_no_media(tmp_path, content, fault, decode):
    path = tmp_path / "x.mp4"
    path.write_bytes(content)
    with pytest.raises(MediaError) as caught:
        decode(path)
    assert fault is None or caught.value.reason is fault


def test_a_folder_is_not_a_file_and_a_gap_is_not_found(tmp_path):
    with pytest.raises(MediaError, match="not-a-file: expected a regular file"):
        decode_image(tmp_path)
    with pytest.raises(FileNotFoundError):
        decode_image(tmp_path / "nothing.jpg")


def test_a_sound_named_video_has_no_video_stream(tmp_path, sound_of):
    with pytest.raises(MediaError, match="no-video-stream"):
        decode_video(sound_of(tmp_path / "s.wav", 0.5), frame_count=2)


def test_a_sound_shorter_than_a_window_is_too_short(tmp_path, sound_of):
    with pytest.raises(MediaError, match=r"too-short: expected at least 0.025 s, found 0.0100 s"):
        decode_audio(sound_of(tmp_path / "s.wav", 0.01), sampling_rate=16_000)


def test_a_file_cut_short_is_noticed(tmp_path, sound_of, video_of):
    whole = video_of(
        tmp_path / "v.mp4", [50 * k for k in range(80)], levels=[k * 37 % 200 for k in range(80)]
    ).read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole[: whole.index(b"mdat") + (len(whole) - whole.index(b"mdat")) // 2])
    with pytest.raises(
        MediaError, match=r"the container promises 3.95 s, [01].\d\d s could be decoded"
    ):
        decode_video(cut, frame_count=4)
    cut.write_bytes(sound_of(tmp_path / "s.flac", 4.0).read_bytes()[:900])
    with pytest.raises(MediaError, match="truncated: flac: End of file"):
        decode_audio(cut, sampling_rate=16_000)
    picture = io.BytesIO()
    Image.effect_noise((64, 64), 50).convert("RGB").save(picture, "JPEG")
    torn = tmp_path / "i.jpg"
    torn.write_bytes(picture.getvalue()[: len(picture.getvalue()) // 2])
    with pytest.raises(MediaError, match="truncated: pixels are missing at its end"):
        decode_image(torn)


@pytest.mark.parametrize(
    ("head", "name"),
    [(b"\0\0\0\x20ftypisom", "mov"), (b"\x1aE\xdf\xa3", "matroska"), (b"RIFF\0\0\0\0WAVE", "wav"),
     (b"RIFF\0\0\0\0WEBP", None),
     (b"\xff\xfb\x90", "mp3"), (b"\xff\xf1\x50", "aac"), (b"#EXTM3U", None), (b"", None)],
)  # fmt: skip
def test_containers_are_told_by_their_first_bytes(head, name):
    assert sniff_container(head) == name


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    folder = tmp_path_factory.mktemp("originals")
    save(folder / "i.png", Image.effect_noise((24, 24), 60).convert("RGB"))
    save(folder / "i.jpg", Image.effect_noise((24, 24), 60).convert("RGB"))
    save(folder / "i.webp", Image.effect_noise((24, 24), 60).convert("RGB"))
    return folder


@settings(
    max_examples=of_full(120, 40),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.sampled_from(["i.png", "i.jpg", "i.webp", "v.mp4", "s.wav", "s.flac"]), st.data())
def test_mutated_files_give_an_array_or_a_typed_fault(
    originals, tmp_path, video_of, sound_of, name, data
):
    source = originals / name
    if not source.exists():
        video_of(source, [0, 400, 900], sound_s=1.0) if name == "v.mp4" else sound_of(source, 0.4)
    content = bytearray(source.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(1, len(content)))
    path = tmp_path / name
    path.write_bytes(bytes(content[:cut]))
    decoders = (
        [decode_image]
        if name.startswith("i")
        else [
            lambda p: decode_audio(p, sampling_rate=16_000),
            lambda p: decode_video(p, frame_count=4),
        ]
    )
    for decode in decoders:
        try:
            assert np.asarray(decode(path)).size > 0
        except (MediaError, AbsentMedium):
            continue


def test_every_awkward_file_is_read_or_typed(test_data):
    decoders = {
        "image": decode_image,
        "audio": lambda path: decode_audio(path, sampling_rate=16_000),
        "video": lambda path: decode_video(path, frame_count=16),
    }
    faults = {}
    for kind, decode in decoders.items():
        for path in sorted((test_data / "edge_media" / kind).iterdir()):
            try:
                assert np.asarray(decode(path)).size > 0
            except MediaError as error:
                faults[path.name] = error.reason.value
    assert faults == {
        "made_truncated.jpg": "truncated",
        "made_zero.jpg": "empty-file",
        "zero_bytes.wav": "empty-file",
        "librosa_audio_only.mkv": "no-video-stream",
        "truncated_hevc.mp4": "truncated",
        "zero_bytes.mp4": "empty-file",
    }


def test_rotation_turns_the_frame(test_data):
    shapes = {
        r: decode_video(
            test_data / "edge_media/video" / f"decord_video_{r}.mov", frame_count=2
        ).shape
        for r in (0, 90)
    }
    assert shapes[0][1:3] == shapes[90][2:0:-1]
