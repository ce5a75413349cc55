"""Read the first seconds of a sound file, or of a video's sound track."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av.error
import numpy as np
import numpy.typing as npt
from av.audio.resampler import AudioResampler

from crossan.extract.media.containers import first_stream
from crossan.extract.media.faults import NO_SOUND_TRACK, AbsentMedium, MediaError, MediaFault
from crossan.extract.media.notes import MediaNote
from crossan.extract.media.open_medium import OpenMedium
from crossan.extract.media.recipe import (
    CLIP_LENGTH_S,
    CLIP_RATE_CAP_HZ,
    CLIP_SOUND_MARGIN_S,
    LOUDEST,
)
from crossan.extract.media.tracks import Decoded, TrackOpener, read_tracks_at, value_of

__all__ = ["Sound", "decode_audio", "open_sound"]

Sound = npt.NDArray[np.float32]
"""Mono samples, ``(samples,)``."""

_SHORTEST_S = 0.025
"""One analysis window of a mel filter bank."""

_MOST_CHANNELS = 64
"""No codec that we meet gives more; a header that claims thousands would cost gigabytes."""

_RATES_HZ = (1_000, 768_000)
"""Rates that sound is recorded at; a damaged one makes the resampler build filters for seconds."""


def decode_audio(path: Path, *, sampling_rate: int) -> Sound:
    """Return the clip as mono float32, shape ``(samples,)``.

    A shorter file gives fewer samples. Full scale is 1, and a lossy codec may
    overshoot it, as may a file of floats; what is beyond `LOUDEST` is refused, and so
    are NaN and infinity.

    Parameters
    ----------
    path
        A sound file, or a video whose sound track is meant.
    sampling_rate
        Samples per second of the result, Hz.

    Raises
    ------
    FileNotFoundError
        Nothing lies at ``path``.
    AbsentMedium
        A video without a sound track.
    MediaError
        The file cannot be read.
    """
    (result,) = read_tracks_at(path, [open_sound(sampling_rate)])
    return value_of(result).values


def open_sound(sampling_rate: int | None) -> TrackOpener:
    """Return what opens the sound in a file that is open.

    Parameters
    ----------
    sampling_rate
        Hz. None keeps the stream's own rate, up to 48 kHz, and a little more than
        the clip, which a resampler needs that is given the result later.
    """
    return lambda medium: _SoundTrack(medium, sampling_rate)


class _SoundTrack:
    """A sound stream on the way to its clip."""

    def __init__(self, medium: OpenMedium, sampling_rate: int | None) -> None:
        self.stream = first_stream(medium.container, "audio")
        if self.stream is None:
            if not medium.has_all_streams:
                raise MediaError(MediaFault.TRUNCATED, "the file lacks its end, and has no sound")
            if medium.container.streams.video:
                raise AbsentMedium(NO_SOUND_TRACK)
            raise MediaError(MediaFault.NO_AUDIO_STREAM, "the file has no sound")
        self._medium = medium
        self._rate = sampling_rate
        self._length_s = CLIP_LENGTH_S + (CLIP_SOUND_MARGIN_S if sampling_rate is None else 0.0)
        self._resampler: Any = None
        self._layout: tuple[Any, ...] = ()
        self._parts: list[Sound] = []
        self._count = self._broken_packets = self._torn_packets = 0
        self._ends_torn = False

    @property
    def is_done(self) -> bool:
        return self._rate is not None and self._count >= round(self._length_s * self._rate)

    def feed(self, packet: Any) -> None:  # noqa: ANN401 - PyAV's types are C extensions
        self._torn_packets += packet.is_corrupt
        # One broken packet costs its own samples; check_share() tells whether too many are lost.
        try:
            decoded = packet.decode()
            _check_format(decoded)
            frames = [heard for frame in decoded for heard in self._resampled(frame)]
        except MediaError:
            raise
        except (av.error.FFmpegError, ValueError):
            self._broken_packets += 1
            self._ends_torn = True
            return
        self._ends_torn = self._ends_torn and not packet.size
        self._parts += [_mix(frame) for frame in frames]
        self._count += sum(frame.samples for frame in frames)

    def finish(self) -> Decoded:
        if not self.is_done and self._resampler is not None:
            self._parts += [_mix(frame) for frame in self._resampler.resample(None)]
        if not self._parts or self._rate is None:
            self._check(0.0)
            fault = MediaFault.CORRUPT if self._broken_packets else MediaFault.NO_FRAMES
            raise MediaError(fault, "no sample could be decoded")
        clip = np.concatenate(self._parts)[: round(self._length_s * self._rate)]
        samples = _scaled(clip, round(CLIP_LENGTH_S * self._rate))
        seconds = len(samples) / self._rate
        if len(samples) < round(CLIP_LENGTH_S * self._rate):
            self._check(seconds)
        if seconds < _SHORTEST_S:
            raise MediaError(
                MediaFault.TOO_SHORT, f"expected at least {_SHORTEST_S} s, found {seconds:.4f} s"
            )
        is_short = len(samples) < round(CLIP_LENGTH_S * self._rate)
        return Decoded(samples, (MediaNote.PADDED,) if is_short else (), self._rate)

    def _check(self, seconds: float) -> None:
        self._medium.check_whole(
            self.stream, seconds, torn_packets=self._torn_packets, ends_torn=self._ends_torn
        )
        self._medium.check_share(self.stream, seconds, self._broken_packets)

    def _resampled(self, frame: Any) -> list[Any]:  # noqa: ANN401
        # Made for the first frame, whose rate is what the decoder gives, whatever the header says;
        # and anew where another part has been joined to the first.
        layout = (frame.format.name, frame.layout.name, frame.sample_rate)
        heard: list[Any] = []
        if layout != self._layout:
            if self._resampler is not None:
                heard += self._resampler.resample(None)
            self._rate = self._rate or min(frame.sample_rate, CLIP_RATE_CAP_HZ)
            self._resampler = AudioResampler(format="flt", rate=self._rate)
            self._layout = layout
        heard += self._resampler.resample(frame)
        return heard


def _check_format(frames: list[Any]) -> None:
    for frame in frames:
        if frame.layout.nb_channels > _MOST_CHANNELS:
            raise MediaError(
                MediaFault.CORRUPT, f"{frame.layout.nb_channels:,} channels > {_MOST_CHANNELS}"
            )
        if not _RATES_HZ[0] <= frame.sample_rate <= _RATES_HZ[1]:
            raise MediaError(
                MediaFault.CORRUPT,
                f"{frame.sample_rate:,} Hz is outside {_RATES_HZ[0]:,}-{_RATES_HZ[1]:,}",
            )


def _scaled(samples: Sound, clip_length: int) -> Sound:
    """Return the samples, which floats need not be on any scale.

    Raises
    ------
    MediaError
        Within the clip there is NaN, infinity or more than `LOUDEST`.
    """
    # Written so that NaN does not pass.
    bad = np.flatnonzero(~(np.abs(samples) <= LOUDEST))
    if not len(bad):
        return samples
    if count := int((bad < clip_length).sum()):
        raise MediaError(
            MediaFault.UNKNOWN_SCALE,
            f"expected samples from -1 to 1, found {count:,} of {len(samples[:clip_length]):,}"
            f" that are not finite or above {LOUDEST:g}",
        )
    # Of the margin behind the clip there may be less.
    return samples[: bad[0]]


def _mix(frame: Any) -> npt.NDArray[np.float32]:  # noqa: ANN401
    """Return the mean of the channels, ``(samples,)``."""
    # Our own mean, because swresample's mix to mono is louder than its inputs. The samples come
    # interleaved, because PyAV 18 crashes over a planar frame of more than eight channels.
    interleaved: Sound = frame.to_ndarray()  # (1, samples * channels)
    mixed: Sound = interleaved.reshape(frame.samples, -1).mean(axis=1, dtype=np.float32)
    return mixed
