"""Turn a clip into the bytes that ``--clips`` keeps, and back.

Frames are kept as JPEG, sound as FLAC.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import av
import numpy as np
from PIL import Image

from crossan.extract.media.audio import Sound, open_sound
from crossan.extract.media.choosing import Frames
from crossan.extract.media.containers import READ_FAULTS
from crossan.extract.media.faults import MediaError, MediaFault
from crossan.extract.media.image import BROKEN_IMAGE
from crossan.extract.media.open_medium import OpenMedium
from crossan.extract.media.recipe import CLIP_JPEG, CLIP_SHORT_EDGE, PIXEL_CAP
from crossan.extract.media.tracks import Decoded, read_tracks, value_of

__all__ = ["DamagedClipError", "pack_frames", "pack_sound", "unpack_frames", "unpack_sound"]

_LONGEST_EDGE = 65_500
"""Pixels of the longest edge of a JPEG that libjpeg writes."""

_STEPS = 32_768
"""Steps of 16 bits from zero to full scale."""


class DamagedClipError(ValueError):
    """The bytes are not those of a kept clip."""


def pack_frames(frames: Frames) -> list[bytes]:
    """Return each frame as JPEG, with its short edge scaled down to 224 pixels.

    The processors of video backbones scale the same way, and then have nothing
    left to scale.

    Raises
    ------
    MediaError
        The scaled frames are longer than a JPEG can be.
    """
    height, width = frames.shape[1:3]
    short, long = sorted((width, height))
    scaled = min(short, CLIP_SHORT_EDGE)
    size = (scaled, scaled * long // short) if width == short else (scaled * long // short, scaled)
    if max(size) > _LONGEST_EDGE:
        raise MediaError(
            MediaFault.TOO_MANY_PIXELS,
            f"{size[0]:,} x {size[1]:,}: expected at most {_LONGEST_EDGE:,}",
        )
    parts: list[bytes] = []
    for number, pixels in enumerate(frames):
        # A short clip repeats its last frame.
        if number and np.array_equal(pixels, frames[number - 1]):
            parts.append(parts[-1])
            continue
        image = Image.fromarray(pixels)
        if image.size != size:
            image = image.resize(size, Image.Resampling.BILINEAR)
        target = io.BytesIO()
        image.save(target, "JPEG", **CLIP_JPEG)
        parts.append(target.getvalue())
    return parts


def unpack_frames(parts: Sequence[bytes | memoryview]) -> Frames:
    """Return the frames, shape ``(frame, height, width, 3)`` uint8.

    Raises
    ------
    DamagedClipError
        A part is no JPEG, of another size than the first, or larger than any that
        was written.
    """
    frames: Frames | None = None
    try:
        for number, part in enumerate(parts):
            with Image.open(io.BytesIO(part), formats=("JPEG",)) as image:
                width, height = image.size
                shape = (len(parts), height, width, 3)
                # By the header alone: the pixels are decoded below, when their size is known to be
                # one that we write.
                is_large = min(image.size) > CLIP_SHORT_EDGE or width * height > PIXEL_CAP
                if image.mode != "RGB" or is_large:
                    raise DamagedClipError(
                        f"frame {number}: {image.mode}, {width:,} x {height:,} pixels"
                    )
                if frames is None:
                    frames = np.empty(shape, np.uint8)
                if frames.shape != shape:
                    raise DamagedClipError(f"frame {number} has another size than the first")
                frames[number] = np.asarray(image)
    except (*BROKEN_IMAGE, Image.DecompressionBombError) as error:
        raise DamagedClipError(str(error)) from error
    if frames is None:
        raise DamagedClipError("no frame")
    return frames


def pack_sound(samples: Sound, sampling_rate: int) -> tuple[bytes, float]:
    """Return mono samples as FLAC of 16 bits, and the value of its full scale.

    That value is 1, or the peak of a louder sound.
    """
    # A lossy codec may overshoot 1, and clipping would change the sound.
    full_scale = max(1.0, float(np.abs(samples).max()))
    whole = np.rint(samples * (_STEPS / full_scale)).clip(-_STEPS, _STEPS - 1).astype(np.int16)
    target = io.BytesIO()
    with av.open(target, "w", format="flac") as container:
        stream: Any = container.add_stream("flac", rate=sampling_rate, layout="mono", format="s16")
        frame = av.AudioFrame.from_ndarray(whole[None], format="s16", layout="mono")
        frame.sample_rate = sampling_rate
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return target.getvalue(), full_scale


def unpack_sound(part: bytes | memoryview, full_scale: float, sampling_rate: int) -> Decoded:
    """Return the sound at a sampling rate.

    Raises
    ------
    MediaError
        At this rate nothing is left of it.
    DamagedClipError
        The part is no FLAC.
    """
    try:
        file = io.BytesIO(part)
        with av.open(file, mode="r", format="flac", metadata_errors="ignore") as container:
            (result,) = read_tracks(OpenMedium(container, "flac"), [open_sound(sampling_rate)])
    except READ_FAULTS as error:
        raise DamagedClipError(str(error)) from error
    # Too short is true of the sound itself; any other fault is of the bytes that were kept.
    if isinstance(result, MediaError) and result.reason is not MediaFault.TOO_SHORT:
        raise DamagedClipError(str(result))
    decoded = value_of(result)
    return Decoded(decoded.values * np.float32(full_scale), decoded.notes, decoded.sampling_rate)
