"""Write the sample's media through real codecs, by what a topic looks and sounds like."""

from __future__ import annotations

import colorsys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

from crossan.extract.sample.topics import TOPIC_COUNT, SampleItem

__all__ = ["write_image", "write_sound", "write_video"]

_IMAGE_SIDE = 112
_VIDEO_SIDE = 96
_FRAME_RATE = 12
_CLIP_S = 3.2
_SOUND_RATE = 16_000
_OPUS_RATE = 48_000
_BIT_EXACT = {"fflags": "+bitexact"}
"""Without it the Ogg muxer draws a random serial number."""

_X264_REPEATABLE = "threads=1:lookahead-threads=1:mbtree=0"
"""Threads and the macroblock tree make x264's output differ between runs.

Seen in 6 of 6 runs of one clip.
"""

_IMAGE_SUFFIXES = (".jpg", ".png", ".webp")
_SOUND_SUFFIXES = (".ogg", ".flac", ".ogg", ".wav")

Picture = npt.NDArray[np.uint8]


def write_image(folder: Path, item: SampleItem, random: np.random.Generator) -> str:
    """Write a picture in the topic's colour and stripes, and return its file name."""
    suffix = _IMAGE_SUFFIXES[item.number % len(_IMAGE_SUFFIXES)]
    name = f"{item.number:03d}{suffix}"
    pixels = _scene(item.topic, _IMAGE_SIDE, random, phase=random.uniform(0, 6))
    options: dict[str, Any] = {} if suffix == ".png" else {"quality": 85}
    Image.fromarray(pixels).save(folder / name, **options)
    return name


def write_sound(folder: Path, item: SampleItem, random: np.random.Generator) -> str:
    """Write a sound of the topic's pitch and timbre, and return its file name."""
    suffix = _SOUND_SUFFIXES[item.number % len(_SOUND_SUFFIXES)]
    name = f"{item.number:03d}{suffix}"
    # Opus encodes at 48 kHz and some fractions of it.
    rate = _OPUS_RATE if suffix == ".ogg" else _SOUND_RATE
    codec = {".ogg": "libopus", ".flac": "flac", ".wav": "pcm_s16le"}[suffix]
    with av.open(str(folder / name), "w", options=_BIT_EXACT) as container:
        stream: Any = container.add_stream(codec, rate=rate, layout="mono")
        if suffix == ".ogg":
            stream.bit_rate = 32_000
        _encode_sound(container, stream, _tone(item.topic, rate, random), rate)
    return name


def write_video(folder: Path, item: SampleItem, random: np.random.Generator) -> str:
    """Write a clip whose scene drifts and brightens at the topic's pace.

    Returns its file name.
    """
    name = f"{item.number:03d}.mp4"
    frame_count = round(_CLIP_S * _FRAME_RATE)
    start = random.uniform(0, 6)
    with av.open(str(folder / name), "w", options=_BIT_EXACT) as container:
        stream: Any = container.add_stream("libx264", rate=_FRAME_RATE)
        stream.width = stream.height = _VIDEO_SIDE
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "30", "preset": "veryfast", "x264-params": _X264_REPEATABLE}
        # Before the first packet, as an MP4 file cannot get another stream after it.
        sound: Any = None
        if item.has_sound_track:
            sound = container.add_stream("aac", rate=_SOUND_RATE, layout="mono")
            sound.bit_rate = 32_000
        for number in range(frame_count):
            progress = number / frame_count
            phase = start + progress * (1 + item.topic)
            pixels = _scene(item.topic, _VIDEO_SIDE, random, phase)
            glow = 0.6 + 0.4 * abs(np.sin(np.pi * progress * (1 + item.topic % 4)))
            frame = av.VideoFrame.from_ndarray((pixels * glow).astype(np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, _FRAME_RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound is not None:
            _encode_sound(container, sound, _tone(item.topic, _SOUND_RATE, random), _SOUND_RATE)
    return name


def _scene(topic: int, side: int, random: np.random.Generator, phase: float) -> Picture:
    """Return stripes in the topic's hue, direction and width, ``(side, side, 3)``.

    Noise makes the items of a topic differ.
    """
    hue = (topic / TOPIC_COUNT + random.normal(0, 0.012)) % 1.0
    colour = np.array(colorsys.hsv_to_rgb(hue, 0.8 if topic % 2 else 0.5, 0.9)) * 255
    other = np.array(colorsys.hsv_to_rgb((hue + 0.4) % 1.0, 0.6, 0.4 + 0.3 * (topic % 3))) * 255
    angle, waves = np.pi * (topic % 6) / 6, 2 + 2 * (topic % 5)
    rows, columns = np.mgrid[0:side, 0:side] / side
    across = np.cos(angle) * columns + np.sin(angle) * rows
    stripes = (0.5 + 0.5 * np.sin(2 * np.pi * waves * across + phase))[..., None]
    noise = random.normal(0, 8, (side, side, 1))
    pixels = stripes * colour + (1 - stripes) * other + noise
    picture: Picture = pixels.clip(0, 255).astype(np.uint8)
    return picture


def _tone(topic: int, rate: int, random: np.random.Generator) -> npt.NDArray[np.float32]:
    """Return a tone at the topic's pitch, ``(samples,)`` in [-1, 1].

    Its overtones and its tremolo are the topic's too.
    """
    time = np.arange(round(_CLIP_S * rate)) / rate
    pitch = 130.0 * 2 ** (topic * 4 / TOPIC_COUNT) * (1 + random.normal(0, 0.01))
    decay = (0.3, 0.6, 0.9)[topic % 3]
    wave = sum(
        decay**k * np.sin(2 * np.pi * pitch * (k + 1) * time + random.uniform(0, 6))
        for k in range(5)
    )
    tremolo = 0.7 + 0.3 * np.sin(2 * np.pi * (1 + topic % 4) * time)
    # The overtones add up to 1 / (1 - decay) at most, by which the loudness is kept the same.
    noisy = wave * tremolo / (1 / (1 - decay)) + random.normal(0, 0.01, len(time))
    return (0.6 * noisy).clip(-1, 1).astype(np.float32)


def _encode_sound(
    container: Any,  # noqa: ANN401 - PyAV's types are C extensions
    stream: Any,  # noqa: ANN401
    wave: npt.NDArray[np.float32],
    rate: int,
) -> None:
    frame = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
    frame.sample_rate = rate
    container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
