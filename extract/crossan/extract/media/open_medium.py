"""A container that is being demuxed, and what it says of the length of its streams."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from crossan.extract.media.beginnings import end_of_tags
from crossan.extract.media.faults import MediaError, MediaFault
from crossan.extract.media.mpeg_frames import announced_seconds
from crossan.extract.media.recipe import CLIP_LENGTH_S
from crossan.extract.media.wholeness import (
    FilePart,
    flac_samples,
    has_all_tracks,
    is_cut,
    is_fragmented,
)

__all__ = ["OpenMedium"]

_LOST_SHARE = 0.5
"""A damaged clip with less than this share of what its container promises is not used."""

_SOUND_SLACK_S = 0.01
"""Less than a packet of any codec, and more than the few samples that a decoder leaves out."""

_TAG = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d*)?)")

_PROMISING = {"mov", "matroska", "flv"}
"""Containers whose durations are written in them.

FFmpeg guesses those of the others from rate and size, and of a torn AVI file's too.
"""

_GUESSED = {"mp3", "aac"}
"""Containers of one stream, of which a guess will do where frames are damaged."""


@dataclass(eq=False)
class OpenMedium:
    """A sound or video file that is being demuxed."""

    container: Any
    name: str
    """Of FFmpeg's demuxer."""
    part: FilePart | None = None
    """The bytes of the container; None for a sound in memory."""
    reached: float = 0.0
    """How far the packets of all streams have come, seconds."""
    has_failed: bool = False
    """Whether the demuxer gave up on damage."""

    @cached_property
    def is_cut(self) -> bool | None:
        """Whether the file ends before its container does.

        None where it does not tell.
        """
        return None if self.part is None else is_cut(self.part, self.name)

    @property
    def has_all_streams(self) -> bool:
        """Whether a stream that is not there has not just been cut off."""
        if self.is_cut and self.name == "mov" and self.part is not None:
            return has_all_tracks(self.part)
        return not self.is_cut

    def declared_seconds(self, stream: Any) -> float | None:  # noqa: ANN401 - a C extension's
        """Return how long a stream is by what the container says of this very stream.

        None stands for a container that says nothing, or guesses.
        """
        if self.name == "matroska":
            return _tagged_seconds(stream)
        if self.name == "flac" and self.part is not None:
            samples = flac_samples(self.part)
            return None if samples is None else samples[0] / samples[1]
        if self.name == "mp3" and self.part is not None:
            return announced_seconds(self.part, end_of_tags(self.part, 0))
        if self.name not in {"mov", "flac"} or None in (stream.duration, stream.time_base):
            return None
        if self.name == "mov" and self.part is not None and is_fragmented(self.part):
            return None
        return float(stream.duration * stream.time_base)

    def check_whole(
        self,
        stream: Any,  # noqa: ANN401
        seconds: float,
        *,
        slack: float = _SOUND_SLACK_S,
        torn_packets: int = 0,
        ends_torn: bool = False,
    ) -> None:
        """Refuse a clip that ends early because its file does.

        Parameters
        ----------
        stream
            The clip's.
        seconds
            How far its packets could be decoded.
        slack
            How much earlier than declared a whole stream may end, seconds.
        torn_packets
            How many of its packets lacked bytes.
        ends_torn
            Whether its last packet could not be decoded.

        Raises
        ------
        MediaError
            The file was cut, and the stream does not end before.
        """
        declared = self.declared_seconds(stream)
        ends_before = declared is not None and seconds >= declared - slack
        # The length of a FLAC stream is exact, and the only one that the file has. Where it is not
        # known, as of one that was written to a pipe, a torn frame tells.
        is_short = self.name == "flac" and (ends_torn if declared is None else not ends_before)
        if is_short or (self.is_cut and (torn_packets or not ends_before)):
            promise = "the file lacks its end"
            if declared is not None:
                promise = f"the container promises {declared:.2f} s"
            raise MediaError(MediaFault.TRUNCATED, f"{promise}, {seconds:.2f} s could be decoded")

    def check_share(self, stream: Any, seconds: float, broken_packets: int) -> None:  # noqa: ANN401
        """Refuse a clip of which damage has left less than half.

        A whole stream may be as short as it likes, whatever other streams of the
        container and the container itself last.

        Raises
        ------
        MediaError
            The stream is damaged, or may be, and too little of it could be decoded.
        """
        if self.is_cut is False and not broken_packets and not self.has_failed:
            return
        promised = self.declared_seconds(stream)
        whole = (self.container.duration or 0) / 1_000_000
        # Some stream is as long as the container: where none comes so far, something is missing.
        is_unmet = self.reached < _LOST_SHARE * min(whole, CLIP_LENGTH_S)
        if promised is None and self.name in _PROMISING and is_unmet:
            promised = whole
        if self.name in _GUESSED and (broken_packets or self.has_failed):
            promised = max(whole, promised or 0.0)
        if promised is not None and seconds < _LOST_SHARE * min(promised, CLIP_LENGTH_S):
            fault = MediaFault.CORRUPT if broken_packets else MediaFault.TRUNCATED
            raise MediaError(
                fault, f"the container promises {promised:.2f} s, {seconds:.2f} s could be decoded"
            )


def _tagged_seconds(stream: Any) -> float | None:  # noqa: ANN401
    """Return how long a Matroska stream is by its DURATION tag, as 00:00:05.013000000."""
    tag = _TAG.fullmatch(str(stream.metadata.get("DURATION", "")))
    if tag is None:
        return None
    hours, minutes, seconds = map(float, tag.groups())
    # The tag says when the stream ends.
    begin = 0.0 if stream.start_time is None else float(stream.start_time * stream.time_base)
    return 3600 * hours + 60 * minutes + seconds - begin
