"""Bring what has more than 8 bits to 8, by the range that its type has."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from crossan.extract.media.faults import MediaError, MediaFault

__all__ = ["lower_bytes", "scaled_to_bytes", "unseen_colours"]

Shades = npt.NDArray[np.uint8]

_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
"""Tags of TIFF 6.0."""
_LOWER = {
    f"{channels};16{order}": f"{channels};16{other}"
    for channels in ("RGB", "RGBX", "RGBA")
    # N is the order of this machine, which is little-endian wherever PyTorch runs.
    for order, other in (("B", "L"), ("L", "B"), ("N", "B"))
} | {"LA;16B": "RGBA"}
"""How samples of 16 bits are packed, and what reads the lower byte of each where Pillow reads the
upper one: the other order, or for grey with transparency the bytes as they are."""
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


def lower_bytes(image: Image.Image) -> list[Any]:
    """Return what reads the lower bytes of colours of 16 bits, of which Pillow shows the upper.

    These are tiles for `unseen_colours`. None are returned for any other picture.

    Parameters
    ----------
    image
        Opened and not loaded yet.
    """
    tiles: list[Any] = []
    for tile in getattr(image, "tile", []):
        # A lone name, or the first of the arguments of a TIFF's decoder.
        name, *rest = (tile.args,) if isinstance(tile.args, str) else tile.args or ("",)
        if name in _LOWER:
            lower = _LOWER[name]
            args = lower if isinstance(tile.args, str) else (lower, *rest)
            tiles.append(tile._replace(args=args))
    return tiles


def unseen_colours(image: Image.Image, tiles: list[Any]) -> MediaError | None:
    """Return the fault of a picture whose upper bytes are all 0, None where it is black.

    Parameters
    ----------
    image
        The picture once more, opened and not loaded yet.
    tiles
        Its `lower_bytes`.
    """
    image.tile = tiles  # type: ignore[attr-defined]
    image.load()
    # Of grey with transparency the first two bytes are those of the shade.
    values = np.asarray(image)[..., : 2 if tiles[0].args == "RGBA" else 3]
    return _no_scale(values, "integers up to 65,535") if values.any() else None


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
