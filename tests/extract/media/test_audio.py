"""Sound on no scale is refused, joined parts are heard one after the other, and torn frames tell of a cut."""

import io
import struct
from contextlib import suppress
from fractions import Fraction
from itertools import groupby

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crossan.extract.media import MediaError, decode_audio
from crossan.extract.media.audio import open_sound
from crossan.extract.media.recipe import LOUDEST
from crossan.extract.media.tracks import read_tracks_at, value_of
from support.counts import of_full

RATE = 16_000
TONE = (0.5 * np.sin(np.arange(4 * RATE) * 0.17)).astype(np.float32)


def wave(values, channels=1):
    """Return a WAVE file of floats, ``values`` (samples,) or (samples, channels)."""
    width, data = values.dtype.itemsize, values.tobytes()
    frame = width * channels
    layout = struct.pack("<HHIIHH", 3, channels, RATE, RATE * frame, frame, 8 * width)
    body = b"WAVEfmt " + struct.pack("<I", len(layout)) + layout
    body += b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def heard(tmp_path, data):
    (tmp_path / "sound").write_bytes(data)
    return decode_audio(tmp_path / "sound", sampling_rate=RATE)


def with_value(value, at=100, dtype="<f4"):
    values = TONE.astype(dtype)
    values[at] = value
    return values


@pytest.mark.parametrize(
    ("values", "count"),
    [
        (TONE * np.float32("nan"), "48,000 of 48,000"),
        (with_value(np.nan), "1 of 48,000"),
        (with_value(np.nan, at=47_999), "1 of 48,000"),
        (with_value(-np.inf), "1 of 48,000"),
        (with_value(1e30), "1 of 48,000"),
        (with_value(1e300, dtype="<f8"), "1 of 48,000"),
        (np.rint(TONE * 32_767), "of 48,000"),
    ],
    ids=["all NaN", "one NaN", "NaN at the end", "infinity", "1e30", "1e300", "steps of 16 bits"],
)
def test_sound_on_no_scale_is_refused(tmp_path, values, count):
    message = f"unknown-scale: expected samples from -1 to 1, found .*{count}"
    with pytest.raises(MediaError, match=message) as caught:
        heard(tmp_path, wave(values))
    # What is kept by --clips has more samples, and the same reason.
    (kept,) = read_tracks_at(tmp_path / "sound", [open_sound(None)])
    assert str(kept) == str(caught.value)


def test_a_channel_of_nan_is_not_left_out(tmp_path):
    both = np.stack([TONE, TONE * np.float32("nan")], 1)
    with pytest.raises(MediaError, match="unknown-scale"):
        heard(tmp_path, wave(both, channels=2))


def test_a_loud_mix_is_read_as_it_is(tmp_path):
    assert np.array_equal(heard(tmp_path, wave(TONE * 8)), TONE[: 3 * RATE] * 8)


def test_what_comes_after_the_clip_does_not_matter(tmp_path):
    data = wave(with_value(np.nan, at=3 * RATE + 300))
    assert np.array_equal(heard(tmp_path, data), TONE[: 3 * RATE])
    # The margin, which is kept for a resampler, ends there.
    (kept,) = read_tracks_at(tmp_path / "sound", [open_sound(None)])
    assert np.array_equal(value_of(kept).values, TONE[: 3 * RATE + 300])


@settings(
    max_examples=of_full(40, 15),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.floats(width=32), min_size=1, max_size=4))
def test_samples_are_the_floats_of_the_file_or_refused(tmp_path, values):
    samples = np.tile(np.array(values, "<f4"), 500)
    if all(abs(value) <= LOUDEST for value in values):
        assert np.array_equal(heard(tmp_path, wave(samples)), samples)
    else:
        with pytest.raises(MediaError, match="unknown-scale"):
            heard(tmp_path, wave(samples))


def encoded(muxer, codec, rate=RATE, layout="mono", seconds=0.8, file=None):
    file = io.BytesIO() if file is None else file
    with av.open(file, "w", format=muxer) as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        channels = {"mono": 1, "stereo": 2}[layout]
        tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(round(rate * seconds)) / rate)
        frame = av.AudioFrame.from_ndarray(
            np.tile(tone.astype(np.float32), (channels, 1)), format="fltp", layout=layout
        )
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def heard_one_by_one(path, muxer):
    """Return what a player gives: each run of frames alike through a resampler of its own."""
    frames, parts = [], []
    with av.open(str(path), format=muxer) as container:
        for packet in container.demux(audio=0):
            # MP3 has a frame of nothing but its length at the start of each part.
            with suppress(av.error.InvalidDataError):
                frames += packet.decode()
    for _, run in groupby(frames, lambda frame: (frame.layout.name, frame.sample_rate)):
        resampler = av.AudioResampler(format="flt", rate=RATE)
        out = [part for frame in [*run, None] for part in resampler.resample(frame)]
        parts += [part.to_ndarray().reshape(part.samples, -1).mean(1) for part in out]
    return np.concatenate(parts)[: 3 * RATE].astype(np.float32)


FIRST = (16_000, "mono")
CHANGES = [(16_000, "stereo"), (44_100, "mono"), (48_000, "stereo")]


@pytest.mark.parametrize(
    ("muxer", "codec"), [("adts", "aac"), ("mp3", "libmp3lame"), ("mpegts", "aac"), ("mpeg", "mp2")]
)
@pytest.mark.parametrize("other", CHANGES)
def test_joined_parts_are_heard_one_after_the_other(tmp_path, muxer, codec, other):
    demuxer = "aac" if muxer == "adts" else muxer
    for order in ([FIRST, other], [other, FIRST], [FIRST, other, FIRST]):
        path = tmp_path / "joined"
        path.write_bytes(b"".join(encoded(muxer, codec, *part) for part in order))
        samples = decode_audio(path, sampling_rate=RATE)
        assert len(samples) >= 0.78 * len(order) * RATE
        # Their tone goes on to the end.
        spectrum = np.abs(np.fft.rfft(samples[-8_000:]))
        assert abs(int(spectrum.argmax()) * 2 - 440) <= 2
        assert np.array_equal(samples, heard_one_by_one(path, demuxer))


def test_the_last_of_joined_parts_may_be_cut_too(tmp_path):
    data = encoded("adts", "aac") + encoded("adts", "aac", 44_100)
    heard(tmp_path, data)
    with pytest.raises(MediaError, match="truncated"):
        heard(tmp_path, data[:-20])


class Pipe:
    """Where FFmpeg cannot go back to write how many samples there were."""

    def __init__(self):
        self.data = b""

    def write(self, data):
        self.data += bytes(data)
        return len(data)

    def getvalue(self):
        return self.data


def test_flac_from_a_pipe_is_cut_where_its_last_frame_is_torn(tmp_path):
    data = encoded("flac", "flac", file=Pipe())
    assert int.from_bytes(data[18:26]) % (1 << 36) == 0
    whole = heard(tmp_path, data)
    assert len(whole) == round(0.8 * RATE)
    assert np.array_equal(heard(tmp_path, data + b"noise" * 41), whole)
    for cut in (1, 2, 9, 100, len(data) // 2):
        with pytest.raises(MediaError, match="truncated"):
            heard(tmp_path, data[:-cut])
