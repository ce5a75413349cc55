"""Learn our vectorised preparation from a processor, and try it against that processor.

This needs no list of processor classes. At each loading the processor is asked
for the value of every byte, and for whole pictures and sounds. Where one differs
from ours, the processor itself prepares.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from crossan.extract.backbones.batches import collate
from crossan.extract.backbones.finishing import (
    SOUND_TOLERANCE,
    PictureFinish,
    SoundFinish,
    samples_of,
)
from crossan.extract.backbones.preparing import (
    ModelInputs,
    PicturePreparer,
    Preparer,
    ProcessorPreparer,
    SoundPreparer,
)
from crossan.extract.media.recipe import PIXEL_CAP

__all__ = ["vectorised_pictures", "vectorised_sounds"]

_KNOWN_SETTINGS = {
    "crop_size", "default_to_square", "do_center_crop", "do_convert_rgb", "do_normalize",
    "do_rescale", "do_resize", "image_mean", "image_std", "offset", "resample", "rescale_factor",
    "size",
}  # fmt: skip
"""Settings of image processors that the vectorised path follows.

``do_convert_rgb`` is among them because pictures are in RGB already.
"""

_TRIED_SIZES = ((61, 83), (19, 7), (300, 260))
"""(height, width) of the pictures tried.

One of each orientation, smaller and larger than what comes out.
"""

_TRIED_LENGTHS = (400, 5_000, 20_001)
"""Samples of the sounds tried."""


def vectorised_pictures(
    settings: Mapping[str, Any],
    processor: ProcessorPreparer,
    frame_count: int | None,
    expected: tuple[int, int] | None,
) -> tuple[Preparer, PictureFinish] | None:
    """Return the worker's and the device's half of an image processor.

    Together they equal it to the bit. None stands for a processor that they
    cannot follow.

    Parameters
    ----------
    settings
        The processor's resolved settings.
    frame_count
        Frames of a video; None for pictures.
    expected
        (height, width) that the model takes.

    Raises
    ------
    ValueError
        The processor refuses a plain picture.
    """
    unknown = [settings[name] for name in settings if name not in _KNOWN_SETTINGS]
    if any(value not in (None, False) for value in unknown):
        return None
    size = _size(settings["size"]) if settings.get("do_resize") else None
    crop = _size(settings["crop_size"]) if settings.get("do_center_crop") else None
    if (size is None and settings.get("do_resize")) or isinstance(crop, int):
        return None
    # A trial preparer of one frame and any size: each frame is prepared alike, and the trial
    # pictures need not have the size that the model takes.
    preparer = PicturePreparer(
        size=size,
        resample=int(settings.get("resample", Image.Resampling.BILINEAR)),
        crop=crop,
        expected=None,
        frame_count=None if frame_count is None else 1,
        pixel_cap=PIXEL_CAP,
    )
    table = _learned_table(preparer, processor)
    if table is None:
        return None
    finish = PictureFinish(table)
    for number, (height, width) in enumerate(_TRIED_SIZES):
        picture = np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)
        medium = picture if frame_count is None else picture[None]
        ours = finish(collate([preparer(medium)]).tensors)["pixel_values"][0].numpy()
        if not np.array_equal(ours, _pixel_values(processor, medium)):
            return None
    return replace(preparer, expected=expected, frame_count=frame_count), finish


def vectorised_sounds(
    extractor: Any,  # noqa: ANN401 - untyped library
    processor: ProcessorPreparer,
) -> tuple[Preparer, SoundFinish] | None:
    """Return the worker's and the device's half of AST's feature extractor.

    Together they are within `SOUND_TOLERANCE` of it. None stands for another
    extractor, or one that they do not come near.

    Raises
    ------
    ValueError
        The extractor refuses a plain sound.
    """
    if type(extractor).__name__ != "ASTFeatureExtractor":
        return None
    preparer = SoundPreparer(samples_of(1), samples_of(int(extractor.max_length)))
    finish = SoundFinish(extractor)
    random = np.random.default_rng(0)
    sounds = [random.normal(0, 0.1, count).astype(np.float32) for count in _TRIED_LENGTHS]
    batch = collate([preparer(sound) for sound in sounds])
    ours = finish(batch.tensors)["input_values"].numpy()  # (items, spectrum, mel)
    expected = np.stack([processor(sound)["input_values"] for sound in sounds])
    return (preparer, finish) if np.abs(ours - expected).max() <= SOUND_TOLERANCE else None


def _size(size: Any) -> tuple[int, int] | int | None:  # noqa: ANN401 - JSON
    """Return (height, width), the shorter edge, or None for a rule that is neither."""
    if isinstance(size, Mapping) and set(size) == {"height", "width"}:
        return int(size["height"]), int(size["width"])
    if isinstance(size, Mapping) and set(size) == {"shortest_edge"}:
        return int(size["shortest_edge"])
    return None


def _learned_table(
    preparer: PicturePreparer, processor: ProcessorPreparer
) -> npt.NDArray[np.float32] | None:
    """Return what the processor makes of each byte in each channel, float32 ``(3, 256)``.

    None where not every byte comes through.
    """
    # The size that resizing leaves as it is, so that no byte is mixed with its neighbours.
    side = 16 if preparer.size is None else preparer.size
    height, width = (side, side) if isinstance(side, int) else side
    y, x = np.mgrid[0:height, 0:width]
    # Any 16 x 16 of this picture holds every byte, so that cropping loses none.
    grey = ((x + 16 * y) % 256).astype(np.uint8)
    picture = np.repeat(grey[..., None], 3, axis=2)
    medium = picture if preparer.frame_count is None else picture[None]
    planes, values = preparer(medium)["pixel_values"], _pixel_values(processor, medium)
    if planes.shape != values.shape or len(np.unique(planes)) < 256:
        return None
    table = np.zeros((3, 256), np.float32)
    for channel in range(3):
        table[channel, planes[..., channel, :, :].ravel()] = values[..., channel, :, :].ravel()
    return table


def _pixel_values(processor: ProcessorPreparer, medium: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
    inputs: ModelInputs = processor(medium)
    return inputs["pixel_values"]
