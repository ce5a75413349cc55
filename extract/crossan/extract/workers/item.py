"""Turn one item's file into model inputs, or into the reason why it has none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossan.cache_schema.errors import ResourceError
from crossan.cache_schema.modality import ItemStatus, Modality
from crossan.extract.media.faults import (
    MISSING,
    AbsentMedium,
    MediaError,
    MediaFault,
    unreadable,
    unusable,
)

if TYPE_CHECKING:
    from PIL import Image

    from crossan.extract.backbones.preparing import ModelInputs
    from crossan.extract.media.clip import ClipReader

__all__ = ["DecodeOrder", "ItemReader", "MediumOutcome", "same_for_all"]


@dataclass(frozen=True, slots=True)
class DecodeOrder:
    """One file to decode and the modalities to take from it."""

    path: Path
    digest: str | None
    """Of the file's content, under which the folder of clips keeps it."""
    modalities: tuple[Modality, ...]
    """Image alone, or video, audio or both at once."""


@dataclass(frozen=True, slots=True)
class MediumOutcome:
    """What became of one medium."""

    inputs: ModelInputs | None = None
    """None where the status is not ok."""
    status: ItemStatus = ItemStatus.OK
    reason: str | None = None
    """Why the status is not ok."""
    notes: tuple[str, ...] = ()
    """What is odd about a medium that could be read, for the job's report."""


@dataclass(frozen=True, slots=True)
class ItemReader:
    """Decodes and prepares one file after the other.

    It is sent to worker processes, so its parts can be pickled.
    """

    preparers: Mapping[Modality, Callable[[Any], ModelInputs]]
    """What makes model inputs of a decoded medium."""
    clips: ClipReader | None
    """What decodes sound and video; None where the files are pictures, which need no FFmpeg."""

    def load_decoders(self) -> None:
        """Import what `read` needs.

        It comes before the limits of the first item, which the libraries are no part of.
        """
        if Modality.IMAGE in self.preparers:
            import crossan.extract.media.image  # noqa: F401 - imported for later

    def read(self, order: DecodeOrder) -> dict[Modality, MediumOutcome]:
        """Return an outcome for each modality of the order.

        A bad medium becomes a typed reason. Whatever else is raised is a bug.

        Raises
        ------
        ResourceError
            The folder of clips is full, which is no item's fault.
        """
        try:
            decoded = self._decode(order)
        except (FileNotFoundError, NotADirectoryError):
            return same_for_all(order, MISSING, ItemStatus.MISSING)
        except MemoryError as error:
            detail = str(error) or "no memory left"
            return same_for_all(order, f"{MediaFault.OVER_MEMORY.value}: decoding: {detail}")
        except ResourceError:
            # An OSError as well, but of our own disk, not of the item.
            raise
        except OSError as error:
            return same_for_all(order, unreadable(error))
        return {
            modality: self._prepare(modality, *decoded[modality]) for modality in order.modalities
        }

    def _decode(self, order: DecodeOrder) -> dict[Modality, tuple[Any, tuple[str, ...]]]:
        """Return what was decoded of each modality, or its fault, with notes on the medium."""
        if order.modalities == (Modality.IMAGE,):
            try:
                return {Modality.IMAGE: (decode_image(order.path), ())}
            except MediaError as error:
                return {Modality.IMAGE: (error, ())}
        assert self.clips is not None
        clip = self.clips.read(order.path, order.digest, frozenset(order.modalities))
        decoded = {}
        for modality in order.modalities:
            notes = tuple(note.value for note in clip.notes.get(modality, ()))
            decoded[modality] = (clip.media[modality], notes)
        return decoded

    def _prepare(
        self,
        modality: Modality,
        decoded: Any,  # noqa: ANN401 - a decoded medium, or what stands for it
        notes: tuple[str, ...],
    ) -> MediumOutcome:
        if isinstance(decoded, AbsentMedium):
            return MediumOutcome(None, ItemStatus.ABSENT, str(decoded))
        if isinstance(decoded, MediaError):
            reason = f"{decoded.reason.value}: {decoded.detail}"
            return MediumOutcome(None, ItemStatus.QUARANTINED, reason)
        try:
            return MediumOutcome(self.preparers[modality](decoded), notes=notes)
        except MemoryError as error:
            detail = str(error) or "no memory left"
            reason = f"{MediaFault.OVER_MEMORY.value}: preparing: {detail}"
            return MediumOutcome(None, ItemStatus.QUARANTINED, reason)
        # Processors refuse an input that they cannot use with a ValueError; our DataError is one.
        except ValueError as error:
            return MediumOutcome(None, ItemStatus.QUARANTINED, unusable(error))


def decode_image(path: Path) -> Image.Image:
    """Return the picture of a file, as `crossan.extract.media.decode_image` does."""
    # Not above, so that a worker for sound or video does without Pillow.
    from crossan.extract.media import image

    return image.decode_image(path)


def same_for_all(
    order: DecodeOrder, reason: str, status: ItemStatus = ItemStatus.QUARANTINED
) -> dict[Modality, MediumOutcome]:
    """Return the same status and reason for every modality of an order."""
    return dict.fromkeys(order.modalities, MediumOutcome(None, status, reason))
