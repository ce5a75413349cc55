"""Streams that end early, last frames that are held, and files that are cut: what plays is read, and no more."""

import os
from contextlib import suppress
from fractions import Fraction
from itertools import product

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crossan.extract.media import AbsentMedium, MediaError, MediaFault, decode_audio, decode_video
from crossan.extract.media.recipe import frame_times
from crossan.extract.media.wholeness import FilePart
from support.counts import of_full

HERTZ, FRAMES_PER_S = 16_000, 5
# Suffix, FFmpeg's muxer, codecs of frames and sound.
WITH_FRAMES = {
    "mp4": ("mp4", "mpeg4", "aac"),
    "fragments.mp4": ("mp4", "mpeg4", "aac"),
    "h264.mp4": ("mp4", "libx264", "aac"),
    "mov": ("mov", "mjpeg", "pcm_s16le"),
    "mkv": ("matroska", "mpeg4", "flac"),
    "webm": ("webm", "libvpx", "libopus"),
    "avi": ("avi", "mpeg4", "pcm_s16le"),
    "ts": ("mpegts", "mpeg2video", "mp2"),
    "mpg": ("mpeg", "mpeg2video", "mp2"),
    "flv": ("flv", "flv1", "aac"),
}
SOUND_ONLY = {
    "wav": ("wav", None, "pcm_s16le"),
    "rf64.wav": ("wav", None, "pcm_s16le"),
    "w64": ("w64", None, "pcm_s16le"),
    "aiff": ("aiff", None, "pcm_s16be"),
    "caf": ("caf", None, "pcm_s16be"),
    "au": ("au", None, "pcm_s16be"),
    "flac": ("flac", None, "flac"),
    "ogg": ("ogg", None, "libopus"),
    "m4a": ("mp4", None, "aac"),
    "mka": ("matroska", None, "libopus"),
    "aac": ("adts", None, "aac"),
    "mp3": ("mp3", None, "libmp3lame"),
}
OPTIONS = {
    "fragments.mp4": {"movflags": "frag_keyframe+empty_moov+default_base_moof"},
    "rf64.wav": {"rf64": "always"},
}
HOLDS = ("mp4", "mov", "mkv", "webm")
"""Containers that say how long a last frame is shown."""


def write(path, name, frame_count, sound_s, held_s=0.0):
    muxer, frame_codec, sound_codec = (WITH_FRAMES | SOUND_ONLY)[name]
    with av.open(str(path), "w", format=muxer, options=OPTIONS.get(name, {})) as container:
        packets = []
        frames = container.add_stream(frame_codec, rate=FRAMES_PER_S) if frame_count else None
        rate = 48_000 if sound_codec == "libopus" else HERTZ
        sound = container.add_stream(sound_codec, rate=rate, layout="mono") if sound_s else None
        if frames is not None:
            if frame_codec.startswith("mpeg2"):
                frames.codec_context.framerate = Fraction(25)
                frames.codec_context.time_base = Fraction(1, 25)
            frames.width, frames.height = 48, 32
            frames.pix_fmt = "yuvj420p" if frame_codec == "mjpeg" else "yuv420p"
            packets += encode_frames(frames, frame_count)
            if held_s:
                packets[-1].duration = int(held_s / packets[-1].time_base)
        if sound is not None:
            packets += encode_sound(sound, sound_s, rate)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    return path


def encode_frames(stream, count):
    noise = np.random.default_rng(1).integers(0, 60, (32, 48, 3), np.uint8)
    packets = []
    for number in range(count):
        pixels = np.roll(noise, number, axis=1) + np.uint8(10 * number % 190)
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        frame.pts, frame.time_base = number, Fraction(1, FRAMES_PER_S)
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def encode_sound(stream, seconds, rate):
    wave = np.random.default_rng(2).uniform(-0.5, 0.5, round(rate * seconds)).astype(np.float32)
    packets = []
    for start in range(0, len(wave), 960):
        part = wave[None, start : start + 960]
        frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def seen_frames(path, name):
    """Return what a viewer sees at four moments: every frame decoded, none looked up."""
    # FFmpeg takes a transport stream of one frame for another format.
    with av.open(str(path), format="mpegts" if name == "ts" else None) as container:
        # Threads give a lone frame of MPEG-2 as damaged.
        container.streams.video[0].thread_type = "NONE"
        shown = [
            (frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)
        ]
    start = shown[0][0]
    return np.stack(
        [
            next(pixels for time, pixels in reversed(shown) if time - start <= moment)
            for moment in frame_times(4)
        ]
    )


def heard_samples(path):
    with av.open(str(path)) as container:
        resampler = av.AudioResampler(format="flt", rate=HERTZ)
        frames = [out for frame in container.decode(audio=0) for out in resampler.resample(frame)]
        frames += resampler.resample(None)
    return np.concatenate([frame.to_ndarray()[0] for frame in frames])[: 3 * HERTZ]


@pytest.fixture(scope="module")
def headers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("headers")
    return {
        name: write(folder / name, name, 3 if name in WITH_FRAMES else 0, 0.4).read_bytes()
        for name in WITH_FRAMES | SOUND_ONLY
    }


def frames_of(path):
    return decode_video(path, frame_count=4)


def sound_of(path):
    return decode_audio(path, sampling_rate=HERTZ)


@pytest.mark.parametrize(
    ("name", "frame_count", "sound_s", "held_s"),
    [
        case
        for case in product(WITH_FRAMES, (1, 17), (0.0, 0.4, 3.3), (0.0, 3.5))
        if case[0] in HOLDS or not case[-1]
    ],
)
def test_streams_of_any_length_stand_beside_each_other(
    tmp_path, name, frame_count, sound_s, held_s
):
    path = write(tmp_path / f"medium.{name}", name, frame_count, sound_s, held_s)
    assert np.array_equal(frames_of(path), seen_frames(path, name))
    if sound_s:
        assert np.array_equal(sound_of(path), heard_samples(path))


@pytest.mark.parametrize(("name", "sound_s"), [*product(SOUND_ONLY, (0.4, 3.3))])
def test_sounds_of_any_container_are_heard(tmp_path, name, sound_s):
    path = write(tmp_path / f"medium.{name}", name, 0, sound_s)
    assert np.array_equal(sound_of(path), heard_samples(path))


@pytest.mark.parametrize(
    ("name", "frame_count", "sound_s"),
    [*product(WITH_FRAMES, (17,), (0.4,)), *product(WITH_FRAMES, (3,), (3.3,)),
     *product(SOUND_ONLY, (0,), (0.4, 1.7))],
)  # fmt: skip
def test_a_cut_file_gives_all_or_nothing(tmp_path, name, frame_count, sound_s):
    path = write(tmp_path / f"whole.{name}", name, frame_count, sound_s)
    data, part = path.read_bytes(), tmp_path / f"part.{name}"
    decoders = [sound_of, frames_of] if frame_count else [sound_of]
    whole = [decode(path) for decode in decoders]
    parts = 400 if os.environ.get("CROSSAN_FAULTS") == "full" else 12
    more = {len(data) * k // parts for k in range(1, parts)}
    for cut in sorted({1, 2, 9, *more}):
        if looks_whole(name, data, len(data) - cut):
            continue
        part.write_bytes(data[:-cut])
        for decode, values in zip(decoders, whole, strict=True):
            try:
                is_right = np.array_equal(decode(part), values)
            except MediaError as error:
                # Nothing says that MP3 goes on, and part of a header may be anything.
                is_vague = name == "mp3" or len(data) - cut < 188
                is_right = error.reason is MediaFault.TRUNCATED or is_vague
            assert is_right, (cut, decode)


def looks_whole(name, data, size):
    """Tell whether the first bytes of a file are a whole one, as far as its container can say."""
    packet = {"ts": 188, "mpg": 2048}.get(name)
    if packet is not None:
        return size % packet == 0
    # The next frame of AAC would begin here. MP3 has a test of its own.
    return name == "mp3" or (name == "aac" and data[size : size + 2] == b"\xff\xf1")


@pytest.mark.parametrize("share", [0.3, 0.6])
def test_less_than_half_of_an_mp3_that_says_its_length_is_torn(tmp_path, share):
    data = write(tmp_path / "whole.mp3", "mp3", 0, 2.0).read_bytes()
    part = tmp_path / "part.mp3"
    part.write_bytes(data[: int(len(data) * share)])
    if share < 0.5:
        with pytest.raises(MediaError, match=r"truncated: the container promises 2\.\d\d s, 0\.5"):
            sound_of(part)
    else:
        assert 0.5 * 2 * HERTZ < len(sound_of(part)) < 0.7 * 2 * HERTZ


@pytest.mark.parametrize("name", ["mkv", "mp4"])
def test_a_sound_that_ends_before_the_cut_is_heard(tmp_path, name):
    path = write(tmp_path / f"whole.{name}", name, 40, 0.4)
    whole, data = sound_of(path), path.read_bytes()
    if name == "mp4":
        # The header stands at the end, and a file without it plays nowhere.
        with (
            av.open(str(path)) as source,
            av.open(str(tmp_path / "front.mp4"), "w", options={"movflags": "faststart"}) as target,
        ):
            streams = {s.index: target.add_stream_from_template(s) for s in source.streams}
            for packet in source.demux():
                if packet.dts is not None:
                    packet.stream = streams[packet.stream.index]
                    target.mux(packet)
        data = (tmp_path / "front.mp4").read_bytes()
    path.write_bytes(data[: -len(data) // 20])
    assert np.array_equal(sound_of(path), whole)


def test_a_part_of_a_file_is_not_said_to_be_without_sound(tmp_path):
    # Nothing but the header of the first track is left.
    path = write(tmp_path / "whole.mp4", "fragments.mp4", 5, 1.0)
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"trak", data.index(b"trak") + 4)])
    with pytest.raises(MediaError, match="truncated"):
        sound_of(path)


def test_a_cut_video_without_sound_has_none(tmp_path):
    path = write(tmp_path / "whole.mp4", "fragments.mp4", 5, 0.0)
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(AbsentMedium):
        sound_of(path)


@settings(
    max_examples=of_full(100, 33),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.sampled_from(["w64", "caf", "aiff", "au", "rf64.wav", "ogg", "avi", "flv", "mpg"]), st.data()
)
def test_a_header_may_send_a_reader_anywhere(tmp_path, headers, name, data):
    content = bytearray(headers[name])
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, 160))
        content[at : at + 4] = data.draw(
            st.sampled_from([b"\xff", b"\0", b"\x7f\xff", b"\x80", b"\xff" * 4])
        )
    path = tmp_path / f"odd.{name}"
    path.write_bytes(content)
    for decode in (sound_of, frames_of):
        with suppress(MediaError, AbsentMedium):
            assert decode(path).size


@pytest.mark.parametrize("length", [0, 2**63 - 1, 2**63, 2**64 - 1])
def test_a_part_of_wave64_may_claim_any_length(tmp_path, headers, length):
    content = bytearray(headers["w64"])
    content[56:64] = length.to_bytes(8, "little")  # of the part behind the 40 bytes of the header
    path = tmp_path / "odd.w64"
    path.write_bytes(content)
    with suppress(MediaError):
        assert sound_of(path).size


@pytest.mark.parametrize("position", [-1, 4, 2**62, 2**63, 2**65])
def test_outside_of_a_file_there_are_no_bytes(tmp_path, position):
    path = tmp_path / "part"
    path.write_bytes(b"abcd")
    with path.open("rb") as file:
        part = FilePart(file.fileno(), 0, 4)
        assert (part.at(position, 2), part.at(3, 2)) == (b"", b"d")


@pytest.mark.parametrize("noise", [b"noise" * 41, bytes(512)], ids=["noise", "zeros"])
@pytest.mark.parametrize("name", [*WITH_FRAMES, *SOUND_ONLY])
def test_what_stands_behind_a_whole_file_does_not_matter(tmp_path, name, noise):
    path = write(tmp_path / f"whole.{name}", name, 3 if name in WITH_FRAMES else 0, 0.8)
    whole = [decode(path) for decode in ((sound_of, frames_of)[: 1 + (name in WITH_FRAMES)])]
    path.write_bytes(path.read_bytes() + noise)
    for decode, values in zip((sound_of, frames_of), whole, strict=False):
        again = decode(path)
        # What has no length of its own goes on, and its decoder makes something of the rest.
        assert np.array_equal(again[: len(values)], values)


def test_an_index_that_is_missing_costs_an_avi_nothing(tmp_path):
    path = write(tmp_path / "whole.avi", "avi", 5, 1.0)
    frames, sound, data = frames_of(path), sound_of(path), path.read_bytes()
    path.write_bytes(data[: data.index(b"idx1")])
    assert np.array_equal(frames_of(path), frames)
    assert np.array_equal(sound_of(path), sound)


def test_a_writer_to_a_pipe_need_not_know_the_length(tmp_path):
    data = bytearray(write(tmp_path / "whole.wav", "wav", 0, 0.4).read_bytes())
    whole, at = sound_of(tmp_path / "whole.wav"), data.index(b"data") + 4
    for unknown in (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\0\0\xff\x7f"):
        data[4:8] = data[at : at + 4] = unknown
        (tmp_path / "pipe.wav").write_bytes(data)
        assert np.array_equal(sound_of(tmp_path / "pipe.wav"), whole)
