"""Small pictures for ``crossan report``, which may not import a decoder itself."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from crossan.extract.media.image import decode_image
from crossan.extract.media.video import decode_video

__all__ = ["image_thumbnail", "video_thumbnail"]

_QUALITY = 70
"""Of the JPEG: about 2 KB for 96 pixels."""


def image_thumbnail(path: Path, side: int) -> bytes:
    """Return the middle of an image as a JPEG of ``side`` by ``side`` pixels.

    Raises
    ------
    MediaError
        The file cannot be read.
    OSError
        The system refuses to read it.
    """
    return _square(decode_image(path), side)


def video_thumbnail(path: Path, side: int) -> bytes:
    """Return the first frame of a video in the same way.

    Raises
    ------
    MediaError
        The file cannot be read.
    OSError
        The system refuses to read it.
    """
    return _square(Image.fromarray(decode_video(path, frame_count=1)[0]), side)


def _square(picture: Image.Image, side: int) -> bytes:
    least = min(picture.size)
    left, top = (picture.width - least) // 2, (picture.height - least) // 2
    middle = picture.crop((left, top, left + least, top + least))
    buffer = io.BytesIO()
    middle.resize((side, side), Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()
