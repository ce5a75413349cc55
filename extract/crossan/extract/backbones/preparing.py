"""The worker's half of preparing an item, from a decoded medium to small arrays.

A `Preparer` travels to worker processes by pickle and holds numbers and names
only. What is left to do (`crossan.extract.backbones.finishing`) is done over a
whole batch on the compute device. Only numpy and Pillow are needed here: without
torch and transformers a worker that decodes starts in a moment and stays small.
`ProcessorPreparer` is the exception, and loads transformers on its first call.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from crossan.cache_schema.errors import DataError
from crossan.cache_schema.modality import Modality

if TYPE_CHECKING:
    from PIL import Image
    from tokenizers import Tokenizer

__all__ = [
    "ModelInputs",
    "PicturePreparer",
    "Preparer",
    "ProcessorPreparer",
    "SoundPreparer",
    "TitlePreparer",
    "loaded_libraries",
]

ModelInputs = dict[str, npt.NDArray[Any]]
"""One item's arrays by name, without a batch axis.

An array of one axis is a sequence, which a batch pads.
"""

Preparer = Callable[[Any], ModelInputs]
"""One decoded medium to `ModelInputs`.

It can be pickled, and raises `DataError` where the medium cannot be used.
"""


@dataclass(frozen=True, slots=True)
class PicturePreparer:
    """Resize and crop pictures or frames as the processor does.

    Shapes
    ------
    ``pixel_values``, uint8: ``(3, height, width)`` of a PIL picture in RGB,
    ``(frame, 3, height, width)`` of uint8 frames ``(frame, height, width, 3)``.
    """

    size: tuple[int, int] | int | None
    """(height, width) or the length of the shorter edge, pixels; None keeps the size as it is."""
    resample: int
    """A `PIL.Image.Resampling`."""
    crop: tuple[int, int] | None
    """(height, width) cut from the middle, with black around what is smaller; None cuts nothing."""
    expected: tuple[int, int] | None
    """(height, width) that the backbone takes; None where it takes any."""
    frame_count: int | None
    """None for one picture."""
    pixel_cap: int
    """Pixels above which a resized picture is refused.

    A line one pixel high, resized by its shorter edge, would fill the memory.
    """

    def __call__(self, decoded: Any) -> ModelInputs:  # noqa: ANN401 - a picture or frames
        """Return ``pixel_values``.

        Raises
        ------
        DataError
            The picture cannot be used.
        """
        # Not above, so that what prepares sounds or titles does without.
        from PIL import Image

        if self.frame_count is None:
            picture = decoded
            if not isinstance(decoded, Image.Image):
                picture = Image.fromarray(np.asarray(decoded))
            return {"pixel_values": self._planes(picture)}
        if len(decoded) != self.frame_count:
            raise DataError(f"expected {self.frame_count} frames, found {len(decoded)}")
        planes = [self._planes(Image.fromarray(frame)) for frame in decoded]
        return {"pixel_values": np.stack(planes)}

    def _planes(self, picture: Image.Image) -> npt.NDArray[np.uint8]:
        """Return uint8 ``(3, height, width)`` of one picture."""
        if picture.mode != "RGB":
            raise DataError(f"expected a picture in RGB, found {picture.mode}")
        if self.size is not None:
            height, width = self._resized(*picture.size)
            # Before the memory is taken, which resize() does at once.
            if height * width > self.pixel_cap:
                raise DataError(
                    f"expected at most {self.pixel_cap:,} pixels once resized, "
                    f"found {width:,} x {height:,} "
                    f"of a picture of {picture.size[0]:,} x {picture.size[1]:,}"
                )
            picture = picture.resize((width, height), self.resample)
        if self.crop is not None:
            height, width = self.crop
            top, left = (picture.size[1] - height) // 2, (picture.size[0] - width) // 2
            picture = picture.crop((left, top, left + width, top + height))
        if self.expected is not None and picture.size[::-1] != self.expected:
            raise DataError(
                f"expected a picture of {self.expected[1]} x {self.expected[0]} pixels, "
                f"found {picture.size[0]} x {picture.size[1]}"
            )
        return np.ascontiguousarray(np.asarray(picture).transpose(2, 0, 1))

    def _resized(self, width: int, height: int) -> tuple[int, int]:
        """Return (height, width) after resizing."""
        if isinstance(self.size, tuple):
            return self.size
        assert self.size is not None
        # Rounded down, as processors do: a pixel more would be another picture.
        long = int(self.size * max(width, height) / min(width, height))
        return (long, self.size) if width <= height else (self.size, long)


@dataclass(frozen=True, slots=True)
class SoundPreparer:
    """Check a sound's length.

    The filter bank is the device's work: samples have a third of the bytes of
    their spectra, and travel quicker from a worker.
    """

    shortest: int
    """Samples of one spectrum; fewer make none."""
    longest: int
    """Samples that the last kept spectrum reads; later ones change nothing."""

    def __call__(self, decoded: npt.NDArray[np.float32]) -> ModelInputs:
        """Return ``samples``, float32 ``(samples,)``.

        Raises
        ------
        DataError
            They are too few for one spectrum.
        """
        samples = np.asarray(decoded, np.float32)
        if samples.ndim != 1 or len(samples) < self.shortest:
            raise DataError(
                f"expected a sound of at least {self.shortest} samples, found {samples.size}"
            )
        return {"samples": samples[: self.longest]}


@dataclass(frozen=True, slots=True)
class TitlePreparer:
    """Cut a title into tokens.

    It can be pickled as the others can, but is quick enough for the parent process.
    """

    tokenizer: Tokenizer
    """Its truncation is set."""

    def __call__(self, decoded: str) -> ModelInputs:
        """Return ``input_ids``, int64 ``(tokens,)``, special tokens included.

        Raises
        ------
        DataError
            The title is no text, or the tokenizer makes no token of it.
        """
        check_title(decoded)
        ids = self.tokenizer.encode(decoded).ids
        # Only a tokenizer without special tokens gets here; a forward over nothing would fail.
        if not ids:
            raise DataError("expected a title of at least one token, found none")
        return {"input_ids": np.asarray(ids, np.int64)}


def check_title(title: str) -> None:
    """Refuse a title that is not Unicode text.

    Raises
    ------
    DataError
        It holds a lone surrogate, half of a character.
    """
    # The tokeniser would raise a TypeError, which looks like a bug of ours.
    try:
        title.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"expected a title in Unicode, found half a character at position {error.start}"
        ) from None


@dataclass(frozen=True, slots=True)
class ProcessorPreparer:
    """Prepare by the transformers processor itself.

    For what the vectorised preparers do not reproduce to the bit. The processor
    is loaded on the first call, in the process that makes it.
    """

    class_name: str
    """Name in `transformers`."""
    folder: str
    """Where the processor's files lie."""
    modality: Modality
    sampling_rate: int | None
    """Hz, for sounds."""

    def __call__(self, decoded: Any) -> ModelInputs:  # noqa: ANN401 - a picture, frames or samples
        """Return all that the processor gives, floats in float32."""
        processor = _processor(self.class_name, self.folder)
        if self.modality is Modality.AUDIO:
            batch = processor(decoded, sampling_rate=self.sampling_rate, return_tensors="np")
        else:
            # The format is given because a processor guesses: it would take a picture that is one
            # or three pixels high for one with the channels first.
            pictures = list(decoded) if self.modality is Modality.VIDEO else np.asarray(decoded)
            batch = processor(pictures, input_data_format="channels_last", return_tensors="np")
        arrays = {name: np.asarray(values[0]) for name, values in batch.items()}
        return {
            name: array.astype(np.float32) if array.dtype.kind == "f" else array
            for name, array in arrays.items()
        }


@lru_cache(maxsize=4)
def _processor(class_name: str, folder: str) -> Any:  # noqa: ANN401 - untyped library
    from crossan.extract.backbones.library import load_processor

    return load_processor(class_name, folder)


def loaded_libraries() -> tuple[str, ...]:
    """Return which of torch and transformers this process has loaded.

    A worker should need neither.
    """
    return tuple(name for name in ("torch", "transformers") if name in sys.modules)
