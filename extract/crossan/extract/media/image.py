"""Read a still image of any common format as upright RGB."""

from __future__ import annotations

import io
import struct
import warnings
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from crossan.extract.media.containers import open_bytes
from crossan.extract.media.faults import MediaError, MediaFault
from crossan.extract.media.recipe import PIXEL_CAP

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

    Alpha is dropped, and 16 bits are scaled to 8.

    Raises
    ------
    FileNotFoundError
        Nothing lies at ``path``.
    MediaError
        The file cannot be read, or has more than `PIXEL_CAP` pixels.
    """
    with open_bytes(path) as file:
        try:
            # From memory, because a read of 4 GB from a file reserves them before it sees that they
            # are missing, and a hostile header can ask for that.
            with Image.open(io.BytesIO(file.read()), formats=_FORMATS) as opened:
                _check_pixels(opened.size)
                opened.load()
                return _to_rgb(_upright(opened))
        except UnidentifiedImageError:
            raise MediaError(
                MediaFault.UNKNOWN_CONTAINER, f"expected one of {', '.join(_FORMATS)}"
            ) from None
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise MediaError(MediaFault.TOO_MANY_PIXELS, str(error)) from None
        except MediaError:
            # Typed already, and a ValueError that the next clause would type again.
            raise
        except BROKEN_IMAGE as error:
            is_torn = "truncated" in str(error).lower()
            fault = MediaFault.TRUNCATED if is_torn else MediaFault.CORRUPT
            raise MediaError(fault, str(error) or type(error).__name__) from None


def _check_pixels(size: tuple[int, int]) -> None:
    pixels = size[0] * size[1]
    if pixels > PIXEL_CAP:
        raise MediaError(
            MediaFault.TOO_MANY_PIXELS,
            f"{size[0]:,} x {size[1]:,} = {pixels:,} pixels > {PIXEL_CAP:,}",
        )


def _upright(image: Image.Image) -> Image.Image:
    """Turn a picture by its EXIF orientation."""
    # Not ImageOps.exif_transpose, which also writes the EXIF anew and fails on odd metadata.
    turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    return image if turn is None else image.transpose(turn)


def _to_rgb(image: Image.Image) -> Image.Image:
    # 16 bit grey, which Pillow's own conversion clips to white.
    if image.mode.startswith("I"):
        grey = np.asarray(image).astype(np.int64)
        return Image.fromarray((grey.clip(0, 65_535) // 257).astype(np.uint8)).convert("RGB")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")
