"""Media written by real codecs, for the decoders to read back."""

from fractions import Fraction

import av
import numpy as np
import pytest


def write_video(
    path,
    times_ms,
    *,
    levels=None,
    size=(64, 48),
    codec="libx264",
    sound_s=0.0,
    options=None,
    color_trc=None,
    turn=0,
    held_ms=None,
):
    """Write one grey frame per time; frame k has level ``levels[k]``, or 10 * k.

    ``turn``: degrees the player turns. ``held_ms``: how long the last packet's frame is shown.
    """
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream(codec, rate=1000)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        stream.options = options or {}
        if color_trc is not None:
            stream.codec_context.color_trc = color_trc
        if turn:
            stream.set_display_rotation(turn)
        if sound_s:
            sound = container.add_stream("aac", rate=16_000, layout="mono")
        packets = []
        for k, time in enumerate(times_ms):
            level = 10 * k if levels is None else levels[k]
            frame = av.VideoFrame.from_ndarray(
                np.full((size[1], size[0], 3), level, np.uint8), format="rgb24"
            )
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            packets += stream.encode(frame)
        packets += stream.encode(None)
        if held_ms is not None:
            packets[-1].duration = held_ms
        container.mux(packets)
        if sound_s:
            wave = np.sin(np.arange(int(16_000 * sound_s)) * 0.3).astype(np.float32)[None]
            frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
            frame.sample_rate = 16_000
            container.mux(sound.encode(frame))
            container.mux(sound.encode(None))
    return path


def write_sound(path, seconds, *, rate=16_000, frequency=440.0, channels=1, codec=None):
    codec = (
        codec
        or {".wav": "pcm_s16le", ".flac": "flac", ".ogg": "libopus", ".mp3": "libmp3lame"}[
            path.suffix
        ]
    )
    layout = {1: "mono", 2: "stereo"}[channels]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        wave = 0.5 * np.sin(2 * np.pi * frequency * np.arange(round(rate * seconds)) / rate).astype(
            np.float32
        )
        frame = av.AudioFrame.from_ndarray(
            np.tile(wave, (channels, 1)), format="fltp", layout=layout
        )
        frame.sample_rate = rate
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def scenes(count, size=(64, 48)):
    """Return noise that drifts and brightens, one picture per frame: what encoders predict from other frames."""
    random = np.random.default_rng(count)
    still = random.integers(0, 120, (size[1], size[0], 1), np.uint8)
    return [np.roll(still, k, axis=1) + np.uint8(k * 7 % 110) for k in range(count)]


@pytest.fixture
def video_of():
    return write_video


@pytest.fixture
def sound_of():
    return write_sound


@pytest.fixture
def scenes_of():
    return scenes
