"""Read frames and sound of one file in one pass.

They come from the file itself, or from the folder of ``--clips``.
"""

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
from crossan.extract.media.faults import NO_SOUND_TRACK, AbsentMedium, MediaError
from crossan.extract.media.notes import MediaNote
from crossan.extract.media.tracks import (
    Decoded,
    TrackOpener,
    TrackResult,
    Unreadable,
    read_tracks_at,
)
from crossan.extract.media.video import open_frames

__all__ = ["Clip", "ClipReader"]


@dataclass(frozen=True, slots=True)
class Clip:
    """What was read of one file."""

    media: Mapping[Modality, npt.NDArray[Any] | Unreadable]
    """An array, or the fault that stands in for it, by modality.

    Frames of a video are uint8 ``(frame, height, width, 3)``, samples of a sound
    float32 ``(samples,)``.
    """
    notes: Mapping[Modality, tuple[MediaNote, ...]] = field(default_factory=dict)
    """What is odd about the media that could be read; a modality without a note is not in it."""

    def medium(self, modality: Modality) -> npt.NDArray[Any]:
        """Return one array.

        Raises
        ------
        AbsentMedium
            The file has no such medium.
        MediaError
            It cannot be read.
        KeyError
            It was not read.
        """
        medium = self.media[modality]
        if isinstance(medium, MediaError | AbsentMedium):
            raise medium
        return medium


@dataclass(frozen=True, slots=True)
class ClipReader:
    """Reads clips, in worker processes as well.

    It is small and can be pickled.
    """

    frame_count: int | None = None
    """Frames of a clip; None where no frames are read."""
    sampling_rate: int | None = None
    """Hz; None where no sound is read."""
    cache: Path | None = None
    """The folder of ``--clips``; None decodes every file, and gives other values."""

    def read(self, path: Path, digest: str | None, modalities: frozenset[Modality]) -> Clip:
        """Read modalities of one file, which is opened and demuxed once.

        Parameters
        ----------
        path
            A video or sound file.
        digest
            Content digest of the file, hex, its key in the folder of clips. None
            keeps nothing there.
        modalities
            Video, audio or both.

        Raises
        ------
        OSError
            No file at ``path``, or it cannot be read.
        ResourceError
            The folder of clips is full or cannot be written.
        ValueError
            A modality that this reader was not made for.
        """
        for modality, setting in (
            (Modality.VIDEO, self.frame_count),
            (Modality.AUDIO, self.sampling_rate),
        ):
            if modality in modalities and setting is None:
                raise ValueError(
                    f"a reader without frame_count or sampling_rate cannot read {modality.value}"
                )
        if not modalities <= {Modality.VIDEO, Modality.AUDIO}:
            raise ValueError(f"expected video and audio, got {', '.join(sorted(modalities))}")
        if self.cache is None:
            return _clip_of(self._decode(path, modalities, self.sampling_rate))
        return _clip_of(self._read_kept(self.cache, path, digest, modalities))

    def _read_kept(
        self, cache: Path, path: Path, digest: str | None, modalities: frozenset[Modality]
    ) -> dict[Modality, TrackResult]:
        """Read from the folder, and decode into it what it lacks."""
        results = {} if digest is None else self._load(cache, digest, modalities)
        missing = modalities - results.keys()
        if not missing:
            return results
        decoded = self._decode(path, missing | self._also_kept(cache, digest, missing), None)
        for modality, result in decoded.items():
            packed = _pack(result)
            if isinstance(packed, MediaError):
                results[modality] = packed
                continue
            if digest is not None:
                self._folder(cache, modality).save(digest, packed)
            if modality in modalities:
                # Packing loses a little, so even the first reader gets what went through the bytes:
                # the values must not depend on who came first.
                unpacked = self._unpack(modality, packed)
                assert unpacked is not None, "a clip that was just packed can be unpacked"
                results[modality] = unpacked
        return {modality: results[modality] for modality in modalities}

    def _load(
        self, cache: Path, digest: str, modalities: frozenset[Modality]
    ) -> dict[Modality, TrackResult]:
        results: dict[Modality, TrackResult] = {}
        for modality in modalities:
            kept = self._folder(cache, modality).load(digest)
            result = None if kept is None else self._unpack(modality, kept)
            if result is not None:
                results[modality] = result
        return results

    def _also_kept(
        self, cache: Path, digest: str | None, missing: frozenset[Modality]
    ) -> frozenset[Modality]:
        """Return what is decoded and kept as well though this job does not read it."""
        # Beside frames the sound costs next to nothing. Beside sound the frames would cost most of
        # the time, so they wait for a job that needs them.
        if digest is None or Modality.VIDEO not in missing:
            return frozenset()
        if self._folder(cache, Modality.AUDIO).path_of(digest).exists():
            return frozenset()
        return frozenset({Modality.AUDIO})

    def _folder(self, cache: Path, modality: Modality) -> ClipFolder:
        return ClipFolder(cache, modality, self.frame_count if modality is Modality.VIDEO else None)

    def _decode(
        self, path: Path, modalities: frozenset[Modality], sampling_rate: int | None
    ) -> dict[Modality, TrackResult]:
        openers: dict[Modality, TrackOpener] = {}
        if Modality.VIDEO in modalities:
            assert self.frame_count is not None
            openers[Modality.VIDEO] = open_frames(path, self.frame_count)
        if Modality.AUDIO in modalities:
            openers[Modality.AUDIO] = open_sound(sampling_rate)
        return dict(zip(openers, read_tracks_at(path, list(openers.values())), strict=True))

    def _unpack(self, modality: Modality, kept: KeptClip) -> TrackResult | None:
        """Return what a kept clip gives, None where it is damaged."""
        if kept.absent is not None:
            # Not the text of the file, which anybody may have written.
            return AbsentMedium(NO_SOUND_TRACK)
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


def _pack(result: TrackResult) -> KeptClip | MediaError:
    """Return what is kept of a clip, or the fault where nothing is."""
    if isinstance(result, AbsentMedium):
        return KeptClip(absent=str(result))
    # A fault is rare and costs little to find again, and the next release of a decoder may read
    # the file.
    if isinstance(result, MediaError):
        return result
    if result.sampling_rate is not None:
        part, full_scale = pack_sound(result.values, result.sampling_rate)
        return KeptClip([part], result.notes, full_scale=full_scale)
    try:
        return KeptClip(pack_frames(result.values), result.notes)
    except MediaError as error:
        return error


def _clip_of(results: Mapping[Modality, TrackResult]) -> Clip:
    media: dict[Modality, npt.NDArray[Any] | Unreadable] = {}
    notes: dict[Modality, tuple[MediaNote, ...]] = {}
    for modality, result in results.items():
        if not isinstance(result, Decoded):
            media[modality] = result
            continue
        media[modality] = result.values
        if result.notes:
            notes[modality] = result.notes
    return Clip(media, notes)
