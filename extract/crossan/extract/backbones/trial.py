"""Try an opened backbone on made media, before a job relies on it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from PIL import Image

from crossan.cache_schema.errors import DataError, UsageError
from crossan.cache_schema.modality import Modality
from crossan.extract.backbones.backbone import Backbone
from crossan.extract.backbones.canary_inputs import canary_inputs
from crossan.extract.backbones.declared_processor import settings_of
from crossan.extract.backbones.families import Family
from crossan.extract.backbones.inputs import Processing
from crossan.extract.backbones.library import FOREIGN_ERRORS, first_line
from crossan.extract.backbones.loading import loading_errors_of
from crossan.extract.backbones.preparing import ModelInputs
from crossan.extract.backbones.processing import expected_size
from crossan.extract.backbones.snapshot import Snapshot

__all__ = ["try_out"]

_SEEN = {Modality.IMAGE, Modality.VIDEO}

_TRIED_SIZES = ((48, 96), (300, 120), (19, 7))
"""(height, width) of the pictures prepared: a wide, a tall and a small one."""

_SIZING = ("do_resize", "size", "do_center_crop", "crop_size", "do_pad", "pad_size")
"""Settings that decide the size of what an image processor gives."""


def try_out(backbone: Backbone, processing: Processing, family: Family, snapshot: Snapshot) -> None:
    """Run one medium through the first block, and prepare others of several sizes.

    What the files say of inputs, embeddings and blocks is tried against each other
    here, before a job has begun.

    Raises
    ------
    UsageError
        They do not fit each other, or the hidden states are not finite.
    """
    medium = _trial_medium(backbone)
    with loading_errors_of(family, snapshot):
        try:
            inputs = backbone.prepare(medium)
            states = backbone.encode([inputs])
        except DataError as error:
            raise _misfit_error(error.message, backbone, processing, family, snapshot) from None
    if family.model_class is not None and not np.isfinite(states).all():
        raise UsageError(
            f"{snapshot.folder}: expected finite hidden states of a plain medium,"
            f" found {int((~np.isfinite(states)).sum()):,} of {states.size:,} NaN or infinite",
            remedy=snapshot.remedy,
        )
    if family.processor_class is None or backbone.modality not in _SEEN:
        return
    for size in _TRIED_SIZES:
        reason = _misfit(backbone, inputs, size)
        if reason is not None:
            reason += f" of a picture of {size[1]} x {size[0]} pixels"
            raise _misfit_error(reason, backbone, processing, family, snapshot)


def _misfit(backbone: Backbone, expected: ModelInputs, size: tuple[int, int]) -> str | None:
    """Return why a picture of this (height, width) cannot be prepared, None where it can.

    Parameters
    ----------
    expected
        What the processor makes of a picture of the model's own size.
    """
    medium = _resized(canary_inputs(backbone)[1], backbone.modality, size)
    try:
        prepared = backbone.prepare(medium)
    except DataError as error:
        return error.message
    except FOREIGN_ERRORS as error:
        return first_line(error)
    for name, array in prepared.items():
        shape = expected[name].shape if name in expected else None
        if array.shape != shape:
            return f"expected {name} of shape {shape}, found {array.shape}"
    return None


def _misfit_error(
    reason: str, backbone: Backbone, processing: Processing, family: Family, snapshot: Snapshot
) -> UsageError:
    """Return the error over inputs that the model cannot take, with the settings that made them."""
    message = f"{snapshot.folder}: its inputs do not fit its model: {reason}"
    size = expected_size(getattr(backbone.model, "config", None))
    if family.processor_class is None or backbone.modality not in _SEEN or size is None:
        return UsageError(message, remedy=snapshot.remedy)
    settings = processing.processor_config
    sizing = [f"{name} {json.dumps(settings[name])}" for name in _SIZING if name in settings]
    file = settings_of(family, snapshot)[1]
    sides = json.dumps({"height": size[0], "width": size[1]})
    return UsageError(
        f"{message}; {file} says {', '.join(sizing) or 'nothing of sizes'}",
        remedy=f'Set "do_resize": true and "size": {sides} in {snapshot.folder / file},'
        " as config.json has its image_size",
    )


def _trial_medium(backbone: Backbone) -> Any:  # noqa: ANN401 - by modality
    media = canary_inputs(backbone)
    # The longest title, so that every position is read; the shortest sound.
    if backbone.modality is Modality.TEXT:
        return media[-1]
    size = expected_size(getattr(backbone.model, "config", None))
    if backbone.modality is Modality.AUDIO or size is None:
        return media[1]
    # Of the model's own size first, which any processor takes.
    return _resized(media[1], backbone.modality, size)


def _resized(medium: Any, modality: Modality, size: tuple[int, int]) -> Any:  # noqa: ANN401
    """Return a picture, or the frames of a video, in another (height, width)."""
    if modality is Modality.IMAGE:
        return medium.resize(size[::-1])
    return np.stack([np.asarray(Image.fromarray(frame).resize(size[::-1])) for frame in medium])
