"""Read a still image of any common format as upright RGB."""

from __future__ import annotations

import io
import struct
import warnings
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image, UnidentifiedImageError

from crossan.extract.media.faults import MediaError, MediaFault
from crossan.extract.media.media_files import open_bytes
from crossan.extract.media.picture_ends import lacks_end
from crossan.extract.media.plain_pictures import ended_jpegs, without_metadata
from crossan.extract.media.recipe import PIXEL_CAP
from crossan.extract.media.shades import lower_bytes, scaled_to_bytes, unseen_colours

__all__ = ["BROKEN_IMAGE", "decode_image"]

_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
# Pillow warns of odd metadata. Once for all and not around each call, as threads share the filters.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

BROKEN_IMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
)
"""What Pillow's decoders raise on hostile bytes; its own documentation promises no narrower set."""

_MENDABLE = {MediaFault.CORRUPT, MediaFault.TRUNCATED, MediaFault.UNKNOWN_CONTAINER}
"""Faults that may be of the metadata or of a lacking end."""

_VAGUE = {MediaFault.CORRUPT, MediaFault.UNKNOWN_CONTAINER}
"""Faults that a decoder finds where the end is missing, too."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes a picture upright, by its EXIF orientation."""


def decode_image(path: Path) -> Image.Image:
    """Return the first frame, EXIF-transposed, as RGB.

    Alpha is dropped. Metadata that cannot be read does not matter, and neither does
    a lacking end, so long as every pixel is there. What has more than 8 bits is
    scaled as `scaled_to_bytes` says.

    Raises
    ------
    FileNotFoundError
        Nothing lies at ``path``.
    MediaError
        The file cannot be read, or has more than `PIXEL_CAP` pixels.
    """
    with open_bytes(path) as file:
        # In memory, because a read of 4 GB from a file reserves them before it sees that they are
        # missing, and a hostile header can ask for that.
        data = file.read()
    try:
        return _read_or_mend(data)
    except MediaError as error:
        # Libraries have many words for bytes that are missing, or none.
        if error.reason in _VAGUE and lacks_end(data):
            raise MediaError(MediaFault.TRUNCATED, "the file lacks its end") from None
        raise


def _read_or_mend(data: bytes) -> Image.Image:
    """Decode a picture, leaving out what is wrong beside its pixels."""
    try:
        return _read(data)
    except MediaError as error:
        if error.reason not in _MENDABLE:
            raise
        fault = error
    for plain in without_metadata(data):
        try:
            return _read(plain)
        except MediaError as error:
            fault = error
    ended = ended_jpegs(data)
    try:
        pictures = [_read(picture) for picture in ended]
    except MediaError:
        raise fault from None
    if not pictures or len({picture.tobytes() for picture in pictures}) > 1:
        raise fault
    return pictures[0]


def _read(data: bytes) -> Image.Image:
    """Decode a picture that is in memory."""
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as opened:
            _check_pixels(opened.size)
            lower = lower_bytes(opened)
            opened.load()
            picture = _to_rgb(opened)
            if lower and picture.getbbox() is None:
                _check_colours(data, lower)
            return _upright(picture, _orientation(opened))
    except UnidentifiedImageError:
        raise MediaError(
            MediaFault.UNKNOWN_CONTAINER, f"expected one of {', '.join(_FORMATS)}"
        ) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise MediaError(
            MediaFault.TOO_MANY_PIXELS, f"more than {PIXEL_CAP:,} are not read"
        ) from None
    except MediaError:
        # Typed already, and a ValueError that the next clause would type again.
        raise
    except BROKEN_IMAGE as error:
        # By the kind of the error: its text may quote the file.
        if "truncated" in str(error).lower():
            raise MediaError(MediaFault.TRUNCATED, "pixels are missing at its end") from None
        raise MediaError(
            MediaFault.CORRUPT, f"the picture's decoder gave up ({type(error).__name__})"
        ) from None


def _check_colours(data: bytes, lower: list[Any]) -> None:
    """Refuse a picture of 16 bits that only seems to be black."""
    with Image.open(io.BytesIO(data), formats=_FORMATS) as again:
        fault = unseen_colours(again, lower)
    if fault is not None:
        raise fault


def _check_pixels(size: tuple[int, int]) -> None:
    pixels = size[0] * size[1]
    if pixels > PIXEL_CAP:
        raise MediaError(
            MediaFault.TOO_MANY_PIXELS,
            f"{size[0]:,} x {size[1]:,} = {pixels:,} pixels > {PIXEL_CAP:,}",
        )


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 for a picture without one that can be read."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except BROKEN_IMAGE:
        return 1


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    # Not ImageOps.exif_transpose, which also writes the EXIF anew and fails on odd metadata.
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def _to_rgb(image: Image.Image) -> Image.Image:
    # More than 8 bits of grey, which Pillow's own conversion clips to black and white.
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(scaled_to_bytes(image)).convert("RGB")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")
