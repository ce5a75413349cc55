"""Why a medium could not be read."""

from __future__ import annotations

import os
from enum import StrEnum

from crossan.cache_schema.errors import DataError

__all__ = [
    "MISSING",
    "NO_SOUND_TRACK",
    "AbsentMedium",
    "MediaError",
    "MediaFault",
    "unreadable",
    "unusable",
]

MISSING = "missing: no file at the path that the dataset gives"
"""The reason of an item without its file.

A store travels to other machines, so no reason holds a path of this one.
"""


NO_SOUND_TRACK = "the video has no sound track"
"""The reason of the only medium that a file can lack."""


def unreadable(error: OSError) -> str:
    """Return the reason of a file that the system does not let us read."""
    # By its number, for the texts of some libraries quote what they were reading.
    return f"unreadable: {'unknown error' if error.errno is None else os.strerror(error.errno)}"


def unusable(error: ValueError) -> str:
    """Return the reason of a medium that was decoded, but that a processor refuses."""
    # Our own errors hold numbers alone. The text of a library's may quote a title.
    detail = error.message if isinstance(error, DataError) else type(error).__name__
    return f"unusable-input: {detail}"


class MediaFault(StrEnum):
    """The typed reasons of quarantine.

    Their values are part of the store format.
    """

    NOT_A_FILE = "not-a-file"
    EMPTY_FILE = "empty-file"
    UNKNOWN_CONTAINER = "unknown-container"
    TOO_MANY_PIXELS = "too-many-pixels"
    UNKNOWN_SCALE = "unknown-scale"
    """Samples of which nothing says what is black and what white, or how loud they are."""
    NO_VIDEO_STREAM = "no-video-stream"
    NO_AUDIO_STREAM = "no-audio-stream"
    UNKNOWN_CODEC = "unknown-codec"
    NO_FRAMES = "no-frames"
    TOO_SHORT = "too-short"
    TRUNCATED = "truncated"
    CORRUPT = "corrupt"
    CRASHED = "crashed"
    """The process that read it died."""
    OVER_MEMORY = "over-memory"
    OVER_TIME = "over-time"


class MediaError(DataError):
    """One medium cannot be read.

    Parameters
    ----------
    reason
        The typed fault.
    detail
        What was expected and found, in words.
    """

    def __init__(self, reason: MediaFault, detail: str) -> None:
        super().__init__(f"{reason.value}: {detail}")
        self.reason, self.detail = reason, detail

    def __reduce__(self) -> tuple[type[MediaError], tuple[MediaFault, str]]:
        """Pickle by both arguments."""
        # By default an exception is made anew from its message alone, one argument short.
        return type(self), (self.reason, self.detail)


class AbsentMedium(DataError):  # noqa: N818 - not an error of the file
    """The file is sound but has no medium of this kind, like a video without a sound track."""
