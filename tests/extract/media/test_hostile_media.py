"""Files that are awkward on purpose: turned, cut, damaged, or lying about themselves."""

import json
import struct
import threading
import tracemalloc

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from crossan.cache_schema.modality import Modality
from crossan.extract.media import (
    AbsentMedium,
    MediaError,
    MediaFault,
    decode_audio,
    decode_image,
    decode_video,
    media_recipe,
)
from crossan.extract.media.recipe import frame_times


def levels_of(frames):
    return [round(float(frame.mean()) / 10) for frame in frames]


def listen(path):
    return decode_audio(path, sampling_rate=16_000)


def write_wave(path, samples, *, rate=16_000):
    """Write 16 bit PCM by hand, shape (samples, channels): no encoder takes these headers."""
    channels = samples.shape[1]
    data = samples.astype("<i2").tobytes()
    header = struct.pack(
        "<HHIIHH", 1, channels, rate, rate * channels * 2 % 2**32, channels * 2 % 2**16, 16
    )
    body = (
        b"WAVEfmt " + struct.pack("<I", 16) + header + b"data" + struct.pack("<I", len(data)) + data
    )
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    return path


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.integers(20, 900), max_size=11), st.integers(1, 16))
def test_any_spacing_of_frames_gives_what_a_viewer_would_see(tmp_path, video_of, gaps, frame_count):
    times = [sum(gaps[:k]) for k in range(len(gaps) + 1)]
    path = video_of(tmp_path / "v.mp4", times, levels=[20 * k + 10 for k in range(len(times))])
    on_screen = [
        max(k for k, time in enumerate(times) if time <= 1000 * t) for t in frame_times(frame_count)
    ]
    assert levels_of(decode_video(path, frame_count=frame_count)) == [2 * k + 1 for k in on_screen]


@pytest.mark.parametrize(
    ("matrix", "dark_side"),
    [
        ((1, 0, 0, 1), "left"),
        ((0, 1, -1, 0), "top"),  # x' = -y, y' = x: a quarter turn clockwise, the left edge goes up
        ((-1, 0, 0, -1), "right"),
        ((0, -1, 1, 0), "bottom"),
    ],
)
def test_the_display_matrix_turns_the_frames(tmp_path, video_of, matrix, dark_side):
    ramp = np.repeat(np.array([20, 220], np.uint8), 32).reshape(
        1, 64, 1
    )  # left half dark, right half bright
    path = video_of(tmp_path / "v.mp4", [0, 500], levels=[ramp, ramp], size=(64, 48))
    content = bytearray(path.read_bytes())
    at = (
        content.index(b"tkhd") + 44
    )  # name, version and flags, 20 bytes of times, 8 reserved, layer to volume
    a, b, c, d = (value << 16 for value in matrix)
    content[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    frame = decode_video(path, frame_count=2)[0].astype(int)
    height, width, _ = frame.shape
    assert (height, width) == ((48, 64) if dark_side in ("left", "right") else (64, 48))
    sides = {
        "left": frame[:, :16],
        "right": frame[:, -16:],
        "top": frame[:16],
        "bottom": frame[-16:],
    }
    assert min(sides, key=lambda side: sides[side].mean()) == dark_side


@pytest.mark.parametrize(
    ("orientation", "corner"),
    # Where the stored top left corner is shown: TIFF 6.0, tag 274.
    [(1, "top left"), (2, "top right"), (3, "bottom right"), (4, "bottom left"),
     (5, "top left"), (6, "top right"), (7, "bottom right"), (8, "bottom left")],
)  # fmt: skip
def test_each_exif_orientation_is_turned_upright(tmp_path, orientation, corner):
    stored = np.zeros((20, 40, 3), np.uint8)
    stored[:10, :10] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / "i.png", exif=exif)
    shown = np.asarray(decode_image(tmp_path / "i.png"))
    assert shown.shape[:2] == ((20, 40) if orientation < 5 else (40, 20))
    row, column = (0 if "top" in corner else -1), (0 if "left" in corner else -1)
    assert shown[row, column].tolist() == [255, 255, 255]
    assert shown.sum() == stored.sum()


def test_an_animated_image_gives_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    frames[0].save(tmp_path / "i.gif", save_all=True, append_images=frames[1:], duration=100)
    assert decode_image(tmp_path / "i.gif").getpixel((0, 0)) == (255, 0, 0)


def test_a_chunk_that_claims_four_gigabytes_costs_none(tmp_path):
    path = tmp_path / "i.png"
    Image.new("LA", (8, 8), (200, 255)).save(path)
    content = bytearray(path.read_bytes())
    struct.pack_into(">I", content, content.index(b"IDAT") - 4, 2**32 - 1)
    path.write_bytes(content)
    tracemalloc.start()
    try:
        assert decode_image(path).getpixel((0, 0)) == (200, 200, 200)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".wav", ".flac", ".png", ".jpg", ".webp"])
def test_a_file_cut_at_a_quarter_is_quarantined(tmp_path, video_of, sound_of, suffix):
    path = tmp_path / f"x{suffix}"
    if suffix in (".mp4", ".mkv"):
        video_of(path, [50 * k for k in range(80)], levels=[k * 37 % 200 for k in range(80)])
    elif suffix in (".wav", ".flac"):
        sound_of(path, 4.0)
    else:
        Image.effect_noise((64, 64), 50).convert("RGB").save(path)
    decode = {".mp4": lambda p: decode_video(p, frame_count=4), ".mkv": lambda p: decode_video(p, frame_count=4),
              ".wav": listen, ".flac": listen}.get(suffix, decode_image)  # fmt: skip
    decode(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 4])
    with pytest.raises(MediaError) as caught:
        decode(path)
    assert caught.value.reason in (MediaFault.TRUNCATED, MediaFault.CORRUPT)


def test_many_channels_are_mixed_evenly(tmp_path):
    # Twelve channels of which one sounds at 12,000 of 32,768: the mean is 1,000 / 32,768.
    samples = np.zeros((8_000, 12))
    samples[:, 5] = 12_000
    heard = listen(write_wave(tmp_path / "s.wav", samples))
    assert heard.shape == (8_000,)
    assert heard == pytest.approx(1_000 / 32_768, abs=1e-6)


def test_a_header_that_claims_thousands_of_channels_is_refused(tmp_path):
    with pytest.raises(MediaError, match=r"corrupt: "):
        listen(write_wave(tmp_path / "s.wav", np.zeros((40, 3_000))))
    with pytest.raises(MediaError, match="corrupt: 100 channels > 64"):
        listen(write_wave(tmp_path / "s.wav", np.zeros((4_000, 100))))


@pytest.mark.parametrize("rate", [3, 2_000_000_011])
def test_a_rate_that_no_sound_has_is_refused(tmp_path, rate):
    with pytest.raises(MediaError, match="Hz is outside 1,000-768,000"):
        listen(write_wave(tmp_path / "s.wav", np.zeros((100, 1)), rate=rate))


def test_a_codec_without_a_decoder_is_named(tmp_path, video_of):
    path = video_of(tmp_path / "v.mp4", [0, 500])
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz"))
    with pytest.raises(
        MediaError, match="unknown-codec: FFmpeg has no decoder for the video stream"
    ):
        decode_video(path, frame_count=2)


def test_a_cover_picture_in_a_sound_file_is_no_video(tmp_path, sound_of):
    picture = tmp_path / "cover.png"
    Image.new("RGB", (32, 32), "red").save(picture)
    sound = sound_of(tmp_path / "s.flac", 0.5).read_bytes()
    data = picture.read_bytes()
    block = (
        struct.pack(">II", 3, 9) + b"image/png" + struct.pack(">I", 0)
    )  # front cover, no description
    block += struct.pack(">IIIII", 32, 32, 24, 0, len(data)) + data
    # After "fLaC" and the STREAMINFO block of 4 + 34 bytes comes the PICTURE block, number 6.
    with_cover = sound[:42] + bytes([6]) + len(block).to_bytes(3, "big") + block + sound[42:]
    path = tmp_path / "covered.flac"
    path.write_bytes(with_cover)
    with av.open(str(path)) as container:
        assert len(container.streams.video) == 1
    assert listen(path).shape == (8_000,)
    with pytest.raises(MediaError, match="no-video-stream: the file has no video stream"):
        decode_video(path, frame_count=2)


def test_a_video_above_the_pixel_cap_is_refused(tmp_path, monkeypatch, video_of):
    path = video_of(tmp_path / "v.mp4", [0, 500], size=(64, 48))
    monkeypatch.setattr("crossan.extract.media.choosing.PIXEL_CAP", 3_000)
    with pytest.raises(MediaError, match=r"too-many-pixels: 64 x 48 pixels > 3,000"):
        decode_video(path, frame_count=2)


def test_threads_decode_what_one_thread_decodes(tmp_path, video_of):
    path = video_of(tmp_path / "v.mp4", [100 * k for k in range(12)], sound_s=1.2)
    Image.effect_noise((64, 64), 50).convert("P").save(tmp_path / "i.png", transparency=b"\0\1\2")
    expected = (
        decode_video(path, frame_count=4),
        listen(path),
        np.asarray(decode_image(tmp_path / "i.png")),
    )
    wrong = []

    def work():
        for _ in range(5):
            found = (
                decode_video(path, frame_count=4),
                listen(path),
                np.asarray(decode_image(tmp_path / "i.png")),
            )
            wrong.extend(not np.array_equal(a, b) for a, b in zip(expected, found, strict=True))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == [False] * 60


@pytest.mark.parametrize("name", ["s.wav", "s.flac", "v.mp4"])
def test_every_header_byte_may_break(tmp_path, video_of, sound_of, name):
    # A header is where a single byte makes a decoder ask for gigabytes, channels or another codec.
    path = tmp_path / name
    content = (
        video_of(path, [0, 400], sound_s=0.5) if name == "v.mp4" else sound_of(path, 0.2)
    ).read_bytes()
    places = {"s.wav": range(90), "s.flac": range(120), "v.mp4": range(0, 1_500, 7)}[name]
    for at in places:
        path.write_bytes(content[:at] + bytes([content[at] ^ 0x81]) + content[at + 1 :])
        for decode in (listen, lambda p: decode_video(p, frame_count=2)):
            try:
                assert decode(path).size
            except (MediaError, AbsentMedium):
                continue


@pytest.mark.parametrize("modality", list(Modality))
def test_a_recipe_is_json_and_names_what_it_was_given(modality):
    recipe = media_recipe(modality, sampling_rate=16_000, frame_count=32)
    assert json.loads(json.dumps(recipe)) == recipe
    assert ("sampling_rate" in recipe) is (modality is Modality.AUDIO)
    assert ("frame_count" in recipe) is (modality is Modality.VIDEO)
    if modality in (Modality.AUDIO, Modality.VIDEO):
        assert (recipe["clip_start_s"], recipe["clip_length_s"]) == (0.0, 3.0)
