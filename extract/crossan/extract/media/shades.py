"""Bring grey of more than 8 bits to 8, by the range that its type has."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from crossan.extract.media.faults import MediaError, MediaFault

__all__ = ["scaled_to_bytes"]

Shades = npt.NDArray[np.uint8]

_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
"""Tags of TIFF 6.0."""
_WHITE_IS_ZERO = 0
_SIGNED = 2


def scaled_to_bytes(image: Image.Image) -> Shades:
    """Return the shades of a picture of mode I, I;16 or F, shape ``(height, width)``.

    Integers are scaled by the range of their type: 65,535 of 16 bits is white, as is
    4,095 of 12. Floats are taken for 0, black, to 1, white. Nothing is clipped.

    Raises
    ------
    MediaError
        Floats outside 0 to 1, NaN among them, negative integers, or integers so small
        that all would be black: the file does not say what white is.
    """
    tags: Any = getattr(image, "tag_v2", {})
    values = np.asarray(image)
    if image.mode == "F":
        shades = _of_floats(values)
    else:
        bits = int(tags.get(_BITS, (16,))[0])
        shades = _of_integers(values, bits, is_signed=tags.get(_SAMPLE_FORMAT, (1,))[0] == _SIGNED)
    return 255 - shades if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else shades


def _of_floats(values: npt.NDArray[Any]) -> Shades:
    # Written so that NaN does not pass.
    if not (values.min() >= 0 and values.max() <= 1):
        raise _no_scale(values, "floats from 0 to 1")
    shades: Shades = np.rint(values * 255).astype(np.uint8)
    return shades


def _of_integers(values: npt.NDArray[Any], bits: int, *, is_signed: bool) -> Shades:
    # Pillow has no unsigned integers of 32 bits and shows them as signed ones.
    whole = values.view(np.uint32) if bits == 32 and not is_signed else values
    white = 2 ** (bits - 1 if is_signed else bits) - 1
    if whole.min() < 0 or whole.max() > white:
        raise _no_scale(whole, f"integers from 0 to {white:,}")
    shades: Shades = (whole.astype(np.int64) * 255 // white).astype(np.uint8)
    # Counts, labels and shades of 8 bits are often kept in more, and would all come out as black.
    if not shades.any() and whole.any():
        raise _no_scale(whole, f"integers up to {white:,}")
    return shades


def _no_scale(values: npt.NDArray[Any], expected: str) -> MediaError:
    return MediaError(
        MediaFault.UNKNOWN_SCALE,
        f"expected {expected}, got {values.min():.6g} to {values.max():.6g}",
    )
