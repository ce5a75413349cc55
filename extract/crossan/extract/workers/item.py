"""One item's file to the model inputs of the modalities asked for, or to the state and reason that stand for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossan.cache_schema.errors import ResourceError
from crossan.cache_schema.modality import ItemStatus, Modality
from crossan.extract.backbones.preparing import ModelInputs
from crossan.extract.media import AbsentMedium, MediaError, MediaFault, decode_image
from crossan.extract.media.clip import ClipReader

__all__ = ["ItemReader", "Order", "Outcome", "lost"]


@dataclass(frozen=True, slots=True)
class Order:
    """One file and what is wanted of it: a picture, or frames, sound or both at once."""

    path: Path
    digest: str | None
    wanted: tuple[Modality, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one medium: model inputs where the status is ok, otherwise the reason."""

    inputs: ModelInputs | None = None
    status: ItemStatus = ItemStatus.OK
    reason: str | None = None
    notes: tuple[str, ...] = ()
    """What is odd about a medium that could be read, for the job's report."""


@dataclass(frozen=True, slots=True)
class ItemReader:
    """Decodes and prepares; it is sent to worker processes, so its parts can be pickled."""

    preparers: Mapping[Modality, Callable[[Any], ModelInputs]]
    """What makes model inputs of a decoded medium."""
    clips: ClipReader

    def read(self, order: Order) -> dict[Modality, Outcome]:
        """Return an outcome for each modality wanted; a bad medium becomes a typed reason, a bug raises.

        Raises
        ------
        ResourceError
            The folder of clips is full, which is no item's fault.
        """
        try:
            decoded = self._decode(order)
        except FileNotFoundError:
            return lost(order, f"missing: no file at {order.path}", ItemStatus.MISSING)
        except MemoryError as error:
            return lost(
                order, f"{MediaFault.OVER_MEMORY.value}: decoding: {str(error) or 'no memory left'}"
            )
        except ResourceError:
            raise
        except OSError as error:
            return lost(order, f"unreadable: {error.strerror or error}")
        return {modality: self._prepare(modality, *decoded[modality]) for modality in order.wanted}

    def _decode(self, order: Order) -> dict[Modality, tuple[Any, tuple[str, ...]]]:
        """Return what was decoded, or the fault in its place, and what is to be noted, by modality."""
        if order.wanted == (Modality.IMAGE,):
            try:
                return {Modality.IMAGE: (decode_image(order.path), ())}
            except MediaError as error:
                return {Modality.IMAGE: (error, ())}
        clip = self.clips.read(order.path, order.digest, frozenset(order.wanted))
        return {
            modality: (
                clip.media[modality],
                tuple(note.value for note in clip.notes.get(modality, ())),
            )
            for modality in order.wanted
        }

    def _prepare(self, modality: Modality, decoded: Any, notes: tuple[str, ...]) -> Outcome:  # noqa: ANN401
        if isinstance(decoded, AbsentMedium):
            return Outcome(None, ItemStatus.ABSENT, str(decoded))
        if isinstance(decoded, MediaError):
            return Outcome(
                None, ItemStatus.QUARANTINED, f"{decoded.reason.value}: {decoded.detail}"
            )
        try:
            return Outcome(self.preparers[modality](decoded), notes=notes)
        except MemoryError as error:
            return Outcome(
                None,
                ItemStatus.QUARANTINED,
                f"{MediaFault.OVER_MEMORY.value}: preparing: {str(error) or 'no memory left'}",
            )
        except ValueError as error:  # processors refuse an input they cannot use with a ValueError
            return Outcome(None, ItemStatus.QUARANTINED, f"unusable-input: {error}")


def lost(
    order: Order, reason: str, status: ItemStatus = ItemStatus.QUARANTINED
) -> dict[Modality, Outcome]:
    """Return the same state and reason for every modality that was wanted of a file."""
    return dict.fromkeys(order.wanted, Outcome(None, status, reason))
