"""Check what ``preprocessor_config.json`` declares, before a processor is built of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from crossan.cache_schema.errors import UsageError
from crossan.cache_schema.modality import Modality
from crossan.extract.backbones.checkpoint_files import read_object
from crossan.extract.backbones.families import FAMILIES, Family
from crossan.extract.backbones.library import first_fault, transformers
from crossan.extract.backbones.snapshot import Snapshot

__all__ = ["declared_processor", "settings_of"]

_FILE = "preprocessor_config.json"


def _non_zero(value: float) -> float:
    if value == 0:
        raise ValueError("should not be 0, which everything is divided by")
    return value


_Side = Annotated[int, Field(ge=1, le=4_096)]
"""Pixels; a picture is 48 MiB at the most, once resized."""
_Size = _Side | list[_Side] | dict[str, _Side]
_Share = Annotated[float, Field(gt=-1e6, lt=1e6)]
_Spread = Annotated[_Share, AfterValidator(_non_zero)]


class _Pictures(BaseModel):
    """What is checked of the settings of an image processor."""

    model_config = ConfigDict(strict=True)

    size: _Size | None = None
    crop_size: _Size | None = None
    resample: Annotated[int, Field(ge=0, le=5)] | None = None
    rescale_factor: _Spread | None = None
    image_mean: _Share | list[_Share] | None = None
    image_std: _Spread | list[_Spread] | None = None
    do_resize: bool | None = None
    do_center_crop: bool | None = None
    do_rescale: bool | None = None
    do_normalize: bool | None = None


class _Sounds(BaseModel):
    """What is checked of the settings of a feature extractor."""

    model_config = ConfigDict(strict=True)

    sampling_rate: Annotated[int, Field(ge=1_000, le=768_000)] = 16_000
    num_mel_bins: Annotated[int, Field(ge=1, le=4_096)] = 128
    max_length: Annotated[int, Field(ge=1, le=1 << 20)] = 1_024
    mean: _Share = 0.0
    std: _Spread = 1.0
    do_normalize: bool | None = None


def declared_processor(family: Family, snapshot: Snapshot) -> str:
    """Return the processor class of transformers that a folder declares.

    Parameters
    ----------
    family
        One whose ``processor_class`` serves where the folder names none; that of a
        plug-in serves whatever the folder names.

    Raises
    ------
    UsageError
        Its file is missing or damaged, its settings cannot be, or the class is not read.
    """
    assert family.processor_class is not None
    settings, file = settings_of(family, snapshot)
    kind = _Sounds if family.modality is Modality.AUDIO else _Pictures
    where = snapshot.folder / file
    try:
        read = kind.model_validate(settings)
    except ValidationError as error:
        raise UsageError(f"{where}: {first_fault(error)}", remedy=snapshot.remedy) from None
    if isinstance(read, _Sounds):
        _check_spectra(read, snapshot, str(where))
    name = settings.get("image_processor_type") or settings.get("feature_extractor_type")
    if name is None or FAMILIES.get(family.model_type) is not family:
        return family.processor_class
    if _plain(str(name)) == _plain(family.processor_class):
        return family.processor_class
    return _other_class(str(name), family, str(where))


def settings_of(family: Family, snapshot: Snapshot) -> tuple[Mapping[str, Any], str]:
    """Return the settings that transformers takes, and the name of the file that holds them.

    Raises
    ------
    UsageError
        There is no such file, or it holds something else.
    """
    folder, remedy = snapshot.folder, snapshot.remedy
    alone = read_object(folder / _FILE, remedy)
    # A newer file for several processors at once, which goes before.
    joint = read_object(folder / "processor_config.json", remedy) or {}
    is_sound = family.modality is Modality.AUDIO
    keys = ("feature_extractor", "audio_processor") if is_sound else ("image_processor",)
    for key in keys:
        if key not in joint:
            continue
        if not isinstance(joint[key], Mapping):
            raise UsageError(
                f"{folder / 'processor_config.json'}: expected {key} to hold an object",
                remedy=remedy,
            )
        return joint[key], "processor_config.json"
    if alone is None:
        raise UsageError(
            f"{folder}: expected {_FILE} beside the weights, found none",
            remedy=remedy,
        )
    return alone, _FILE


def _check_spectra(settings: _Sounds, snapshot: Snapshot, where: str) -> None:
    """Refuse spectra of another shape than the model takes.

    A huge one would fill memory.
    """
    for name in ("num_mel_bins", "max_length"):
        expected = snapshot.config.get(name)
        if expected is not None and expected != getattr(settings, name):
            raise UsageError(
                f"{where}: expected {name} {expected}, as config.json says,"
                f" found {getattr(settings, name)}",
                remedy=snapshot.remedy,
            )


def _other_class(name: str, family: Family, where: str) -> str:
    """Return the class of transformers, working with Pillow, for another declared processor."""
    class_name = f"{_plain(name)}Pil"
    is_name = class_name.isidentifier()
    processor_class = getattr(transformers, class_name, None) if is_name else None
    base = transformers.image_processing_backends.PilBackend
    if family.modality is Modality.AUDIO or not (
        isinstance(processor_class, type) and issubclass(processor_class, base)
    ):
        raise UsageError(
            f"{where}: expected {family.processor_class}, or another image processor of"
            f" transformers that works with Pillow, found {name}"
        )
    return class_name


def _plain(name: str) -> str:
    """Return the name of a processor without what says how it computes, or of which release."""
    for ending in ("Pil", "Fast"):
        name = name.removesuffix(ending)
    if name.endswith("FeatureExtractor") and not name.startswith("AST"):
        name = f"{name.removesuffix('FeatureExtractor')}ImageProcessor"
    return name
