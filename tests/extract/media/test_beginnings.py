"""Tags, zeros and a little noise may stand before a sound, and nothing else is guessed."""

import struct

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crossan.extract.media import MediaError, decode_audio
from crossan.extract.media.beginnings import find_container
from crossan.extract.media.mpeg_frames import frame_bytes, frames_from
from support.counts import of_full

SHARED = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}


class Bytes:
    def __init__(self, data):
        self.data, self.size = data, len(data)

    def at(self, position, count):
        return self.data[position : position + count]


def id3(size, *, has_footer=False):
    sizes = bytes(size >> shift & 127 for shift in (21, 14, 7, 0))
    title = b"TIT2" + struct.pack(">I", 6) + b"\0\0" + b"\0title"
    footer = b"3DI\4\0\x10" + sizes if has_footer else b""
    return (
        b"ID3\4\0" + (b"\x10" if has_footer else b"\0") + sizes + title.ljust(size, b"\0") + footer
    )


def ape(size):
    return b"APETAGEX" + struct.pack("<IIII8x", 2000, size, 1, 1 << 31) + b"a" * size


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    sounds = {}
    wave = 0.5 * np.sin(np.arange(16_000) * 0.17).astype(np.float32)[None]
    for name, codec in (
        ("flac", "flac"),
        ("adts", "aac"),
        ("mp3", "libmp3lame"),
        ("ogg", "libopus"),
    ):
        path = tmp_path_factory.mktemp(name) / "plain"
        with av.open(str(path), "w", format=name) as container:
            stream = container.add_stream(codec, rate=16_000, layout="mono")
            frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
            frame.sample_rate = 16_000
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        sounds[name] = path.read_bytes(), decode_audio(path, sampling_rate=16_000)
    return sounds


def heard(tmp_path, data):
    (tmp_path / "sound").write_bytes(data)
    return decode_audio(tmp_path / "sound", sampling_rate=16_000)


TAGS = [
    id3(200), id3(400_000), id3(200, has_footer=True), id3(50) + id3(90) + id3(70), ape(300),
    ape(40) + id3(50),
]  # fmt: skip


@pytest.mark.parametrize("tags", TAGS, ids=lambda tags: f"{len(tags):,} bytes")
@pytest.mark.parametrize("name", ["flac", "adts", "mp3", "ogg"])
def test_tags_before_a_sound_do_not_matter(tmp_path, sounds, name, tags):
    data, plain = sounds[name]
    assert np.array_equal(heard(tmp_path, tags + data), plain)


def test_the_picture_on_a_short_mp3_is_no_part_of_its_length(tmp_path, sounds):
    data, plain = sounds["mp3"]
    # Without the frame that announces the length, it can be guessed by the size alone.
    frames = list(frames_from(Bytes(data), data.index(b"\xff")))
    bare = data[frames[1][0] :]
    picture = b"APIC" + struct.pack(">I", 400_000) + b"\0\0\0image/png\0\3\0" + bytes(399_986)
    sizes = bytes(len(picture) >> shift & 127 for shift in (21, 14, 7, 0))
    sound = heard(tmp_path, b"ID3\3\0\0" + sizes + picture + bare)
    assert abs(len(sound) - len(plain)) < 3 * 1152


@pytest.mark.parametrize(
    "before",
    [bytes(1), bytes(1_000), bytes(300_000), b"noise \xff\xfb\x90\xff" * 50, bytes(70) + id3(90),
     id3(90) + bytes(70)],
    ids=lambda before: f"{len(before):,} bytes",
)  # fmt: skip
@pytest.mark.parametrize("name", ["adts", "mp3"])
def test_zeros_and_noise_before_frames_do_not_matter(tmp_path, sounds, name, before):
    data, plain = sounds[name]
    assert np.array_equal(heard(tmp_path, before + data), plain)


def test_a_tag_that_lies_about_its_length_is_no_reason_to_give_up(tmp_path, sounds):
    data, plain = sounds["mp3"]
    assert len(heard(tmp_path, id3(200)[:9] + b"\x01" + id3(200)[10:] + data)) == len(plain)


@pytest.mark.parametrize(
    "text",
    [b"ffconcat version 1.0\nfile a.mp4\n", b"#EXTM3U\n#EXTINF:3,\na.ts\n", b"\xff\xfb", b"\xff" * 99],
)  # fmt: skip
def test_what_has_no_frames_in_a_row_is_no_sound(tmp_path, text):
    for before in (b"", bytes(200)):
        container = find_container(Bytes(before + text))
        assert container is None or container[0] in ("mp3", "aac")
        with pytest.raises(MediaError):
            heard(tmp_path, before + text)


@settings(max_examples=of_full(60, 20), **SHARED)
@given(st.binary(max_size=4_000))
def test_text_and_noise_are_never_taken_for_a_list_of_files(data):
    container = find_container(Bytes(b"ffconcat version 1.0\nfile a.mp4\n" + data))
    assert container is None or container[0] in ("mp3", "aac")


@settings(max_examples=of_full(40, 15), **SHARED)
@given(
    st.lists(st.sampled_from(TAGS), max_size=3),
    st.integers(0, 3_000),
    st.sampled_from(["adts", "mp3"]),
)
def test_any_tags_and_zeros_lead_to_the_frames(sounds, tags, zeros, name):
    sound = sounds[name][0]
    # FFmpeg writes a tag before MP3.
    frames = len(sound) if name == "adts" else len(sound) - sound.index(b"\xff")
    file = Bytes(b"".join(tags) + bytes(zeros) + sound)
    assert find_container(file) == ({"adts": "aac", "mp3": "mp3"}[name], file.size - frames)


@pytest.mark.parametrize(
    ("header", "codec", "length"),
    [
        # MPEG 1 layer III, 128 kbit/s at 44.1 kHz: 144 * 128,000 / 44,100 = 417.96.
        (b"\xff\xfb\x90\0\0\0", "mp3", 417),
        (b"\xff\xfb\x92\0\0\0", "mp3", 418),  # one byte of padding
        (b"\xff\xf3\x80\0\0\0", "mp3", 208),  # MPEG 2, 64 kbit/s at 22.05 kHz: 72 * 64 / 22.05
        (b"\xff\xfd\x80\0\0\0", "mp3", 417),  # layer II, 128 kbit/s
        (b"\xff\xff\x40\0\0\0", "mp3", 136),  # layer I, 128 kbit/s: 4 * floor(12 * 128 / 44.1)
        (b"\xff\xf1\x60\x40\x03\xe0", "aac", 31),  # 13 bits of length
    ],
)
def test_the_length_of_a_frame_is_that_of_the_standard(header, codec, length):
    assert frame_bytes(header) == (codec, length)


@pytest.mark.parametrize(
    "header",
    [b"\xff\xe9\x90\0\0\0", b"\xff\xfb\xf0\0\0\0", b"\xff\xfb\x9c\0\0\0", b"\xff\xfb\x00\0\0\0",
     b"\xfe\xfb\x90\0\0\0", b"\xff\xfb\x90"],
)  # fmt: skip
def test_reserved_values_are_no_header(header):
    assert frame_bytes(header) is None


@pytest.mark.parametrize("name", ["adts", "mp3"])
def test_the_frames_of_a_file_reach_to_its_end(sounds, name):
    file = Bytes(sounds[name][0])
    *_, last = frames_from(file, find_container(file)[1])
    assert last[0] + last[2] == file.size
