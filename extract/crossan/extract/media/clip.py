"""The clip of one file, frames and sound of it in one pass, from the file or from the folder of ``--clips``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy.typing as npt

from crossan.cache_schema.modality import Modality
from crossan.extract.media.audio import open_sound
from crossan.extract.media.clip_parts import (
    DamagedClipError,
    pack_frames,
    pack_sound,
    unpack_frames,
    unpack_sound,
)
from crossan.extract.media.clips import ClipFolder, KeptClip
from crossan.extract.media.faults import AbsentMedium, MediaError
from crossan.extract.media.notes import MediaNote
from crossan.extract.media.tracks import Decoded, TrackOpener, Unreadable, read_tracks_at
from crossan.extract.media.video import open_frames

__all__ = ["Clip", "ClipReader"]

Outcome = Decoded | Unreadable


@dataclass(frozen=True, slots=True)
class Clip:
    """What one file gives: per modality that was wanted an array, or the fault that stands in for it."""

    media: Mapping[Modality, npt.NDArray[Any] | Unreadable]
    """Video: frames uint8 ``(frame, height, width, 3)``; audio: samples float32 ``(samples,)``."""
    notes: Mapping[Modality, tuple[MediaNote, ...]] = field(default_factory=dict)
    """What is odd about those that could be read; a modality without a note is not in it."""

    def medium(self, modality: Modality) -> npt.NDArray[Any]:
        """Return one array.

        Raises
        ------
        AbsentMedium
            The file has no such medium.
        MediaError
            It cannot be read.
        KeyError
            It was not wanted.
        """
        found = self.media[modality]
        if isinstance(found, MediaError | AbsentMedium):
            raise found
        return found


@dataclass(frozen=True, slots=True)
class ClipReader:
    """Reads clips; small and picklable, for worker processes."""

    frame_count: int | None = None
    """Frames of a clip; None where none are asked for."""
    sampling_rate: int | None = None
    """Hz; None where no sound is asked for."""
    cache: Path | None = None
    """The folder of ``--clips``; None decodes every file, and gives other values."""

    def read(self, path: Path, digest: str | None, wanted: frozenset[Modality]) -> Clip:
        """Read the wanted modalities of one file, which is opened and demuxed once.

        Parameters
        ----------
        path
            A video or sound file.
        digest
            Content digest of the file, hex: its key in the folder of clips. None keeps nothing there.
        wanted
            Video, audio or both.

        Raises
        ------
        OSError
            Nothing lies at ``path``, or it cannot be read.
        ResourceError
            The folder of clips is full or cannot be written.
        ValueError
            A modality that this reader was not made for.
        """
        for modality, setting in (
            (Modality.VIDEO, self.frame_count),
            (Modality.AUDIO, self.sampling_rate),
        ):
            if modality in wanted and setting is None:
                raise ValueError(
                    f"a reader without frame_count or sampling_rate cannot read {modality.value}"
                )
        if not wanted <= {Modality.VIDEO, Modality.AUDIO}:
            raise ValueError(f"expected video and audio, got {', '.join(sorted(wanted))}")
        if self.cache is None:
            return _clip_of(self._decode(path, wanted, self.sampling_rate))
        return _clip_of(self._read_kept(self.cache, path, digest, wanted))

    def _read_kept(
        self, cache: Path, path: Path, digest: str | None, wanted: frozenset[Modality]
    ) -> dict[Modality, Outcome]:
        """Read from the folder, and decode into it what it lacks; what is returned has always gone through its bytes."""
        found = {} if digest is None else self._load(cache, digest, wanted)
        missing = wanted - found.keys()
        if not missing:
            return found
        for modality, decoded in self._decode(
            path, missing | self._beside(cache, digest, missing), None
        ).items():
            packed = _pack(decoded)
            if isinstance(packed, MediaError):
                found[modality] = packed
                continue
            if digest is not None:
                self._folder(cache, modality).save(digest, packed)
            if modality in wanted:
                made = self._unpack(modality, packed)
                assert made is not None, "a clip that was just packed can be unpacked"
                found[modality] = made
        return {modality: found[modality] for modality in wanted}

    def _load(
        self, cache: Path, digest: str, wanted: frozenset[Modality]
    ) -> dict[Modality, Outcome]:
        found: dict[Modality, Outcome] = {}
        for modality in wanted:
            kept = self._folder(cache, modality).load(digest)
            outcome = None if kept is None else self._unpack(modality, kept)
            if outcome is not None:
                found[modality] = outcome
        return found

    def _beside(
        self, cache: Path, digest: str | None, missing: frozenset[Modality]
    ) -> frozenset[Modality]:
        """Return what is kept as well though nobody wants it yet.

        Beside frames the sound costs next to nothing; beside sound the frames would cost most of the time.
        """
        if (
            digest is None
            or Modality.VIDEO not in missing
            or self._folder(cache, Modality.AUDIO).path_of(digest).exists()
        ):
            return frozenset()
        return frozenset({Modality.AUDIO})

    def _folder(self, cache: Path, modality: Modality) -> ClipFolder:
        return ClipFolder(cache, modality, self.frame_count if modality is Modality.VIDEO else None)

    def _decode(
        self, path: Path, wanted: frozenset[Modality], sampling_rate: int | None
    ) -> dict[Modality, Outcome]:
        openers: dict[Modality, TrackOpener] = {}
        if Modality.VIDEO in wanted:
            assert self.frame_count is not None
            openers[Modality.VIDEO] = open_frames(path, self.frame_count)
        if Modality.AUDIO in wanted:
            openers[Modality.AUDIO] = open_sound(sampling_rate)
        return dict(zip(openers, read_tracks_at(path, list(openers.values())), strict=True))

    def _unpack(self, modality: Modality, kept: KeptClip) -> Outcome | None:
        """Return what a kept clip gives, None where it is damaged."""
        if kept.absent is not None:
            return AbsentMedium(kept.absent)
        try:
            if modality is Modality.VIDEO:
                return Decoded(unpack_frames(kept.parts), kept.notes)
            assert self.sampling_rate is not None
            sound = unpack_sound(kept.parts[0], kept.full_scale, self.sampling_rate)
        except MediaError as error:
            return error
        except DamagedClipError:
            return None
        return Decoded(sound.values, kept.notes, sound.sampling_rate)


def _pack(outcome: Outcome) -> KeptClip | MediaError:
    """Return what is kept of a clip.

    A fault is not kept: it is rare, costs little to find again, and the next
    release of a decoder may read the file. That a medium is absent is kept.
    """
    if isinstance(outcome, AbsentMedium):
        return KeptClip(absent=str(outcome))
    if isinstance(outcome, MediaError):
        return outcome
    if outcome.sampling_rate is not None:
        part, full_scale = pack_sound(outcome.values, outcome.sampling_rate)
        return KeptClip([part], outcome.notes, full_scale=full_scale)
    try:
        return KeptClip(pack_frames(outcome.values), outcome.notes)
    except MediaError as error:
        return error


def _clip_of(found: Mapping[Modality, Outcome]) -> Clip:
    media = {
        key: outcome.values if isinstance(outcome, Decoded) else outcome
        for key, outcome in found.items()
    }
    notes = {
        key: outcome.notes
        for key, outcome in found.items()
        if isinstance(outcome, Decoded) and outcome.notes
    }
    return Clip(media, notes)
