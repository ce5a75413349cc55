"""Read any number of a container's streams in one pass over its packets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt

from crossan.extract.media.containers import (
    READ_FAULTS,
    media_error,
    open_container,
    packets_of,
)
from crossan.extract.media.faults import AbsentMedium, MediaError
from crossan.extract.media.notes import MediaNote
from crossan.extract.media.open_medium import OpenMedium

__all__ = [
    "Decoded",
    "Track",
    "TrackOpener",
    "TrackResult",
    "Unreadable",
    "read_tracks",
    "read_tracks_at",
    "value_of",
]

Unreadable = MediaError | AbsentMedium
"""What stands in for a clip that a file does not give."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """The clip of one stream."""

    values: npt.NDArray[Any]
    """Frames uint8 ``(frame, height, width, 3)``, or samples float32 ``(samples,)``."""
    notes: tuple[MediaNote, ...] = ()
    sampling_rate: int | None = None
    """Of samples, Hz."""


TrackResult = Decoded | Unreadable
"""What becomes of one stream."""


class Track(Protocol):
    """A reader of one stream that takes packets until it has its clip."""

    @property
    def stream(self) -> Any:  # noqa: ANN401 - PyAV's types are C extensions
        """The stream whose packets are fed."""

    @property
    def is_done(self) -> bool:
        """Whether no further packet is needed."""

    def feed(self, packet: Any) -> None:  # noqa: ANN401
        """Take the stream's next packet."""

    def finish(self) -> Decoded:
        """Return the clip of what was fed.

        Raises
        ------
        MediaError
            The packets give none.
        """


TrackOpener = Callable[[OpenMedium], Track]


def read_tracks_at(path: Path, openers: Sequence[TrackOpener]) -> list[TrackResult]:
    """Open a file once and return the clip or the fault of each track.

    Raises
    ------
    OSError
        The file does not exist, or its disk cannot be read.
    """
    try:
        with open_container(path) as medium:
            return read_tracks(medium, openers)
    except MediaError as error:
        return [error for _ in openers]


def read_tracks(medium: OpenMedium, openers: Sequence[TrackOpener]) -> list[TrackResult]:
    """Return the clip or the fault of each track of an open file.

    One track's fault does not cost another its clip.
    """
    runs = [_Run(medium, opener) for opener in openers]
    by_stream: dict[int, list[_Run]] = {}
    for run in runs:
        if run.track is not None:
            by_stream.setdefault(run.track.stream.index, []).append(run)
    try:
        _feed(medium, by_stream)
    except READ_FAULTS as error:
        # The container itself is broken here. A track that has its clip already keeps it.
        for run in runs:
            if run.is_waiting:
                run.fault = media_error(error, medium.name, is_cut=medium.is_cut)
    return [run.finish() for run in runs]


class _Run:
    """One track on its way to a clip or a fault."""

    def __init__(self, medium: OpenMedium, opener: TrackOpener) -> None:
        self._medium = medium
        self.fault: Unreadable | None = None
        self.track: Track | None = None
        try:
            self.track = opener(medium)
        except READ_FAULTS as error:
            self.fault = media_error(error, self._medium.name, is_cut=self._medium.is_cut)

    @property
    def is_waiting(self) -> bool:
        """Whether the track can use more packets."""
        return self.track is not None and self.fault is None and not self.track.is_done

    def feed(self, packet: Any) -> None:  # noqa: ANN401
        if self.track is None or not self.is_waiting:
            return
        try:
            self.track.feed(packet)
        except READ_FAULTS as error:
            self.fault = media_error(error, self._medium.name, is_cut=self._medium.is_cut)

    def finish(self) -> TrackResult:
        if self.track is None or self.fault is not None:
            assert self.fault is not None
            return self.fault
        try:
            return self.track.finish()
        except READ_FAULTS as error:
            return media_error(error, self._medium.name, is_cut=self._medium.is_cut)


def _feed(medium: OpenMedium, by_stream: dict[int, list[_Run]]) -> None:
    waiting = [run for runs in by_stream.values() for run in runs]
    if not waiting:
        return
    for packet in packets_of(medium):
        for run in by_stream.get(packet.stream.index, ()):
            run.feed(packet)
        # The rest of the file is not even read: a clip is its first seconds.
        if not any(run.is_waiting for run in waiting):
            return


def value_of(result: TrackResult) -> Decoded:
    """Return the clip, or raise what stands in for it."""
    if isinstance(result, Decoded):
        return result
    raise result
