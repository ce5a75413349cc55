"""The first seconds of a sound file, or of a video's sound track."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av.error
import numpy as np
import numpy.typing as npt
from av.audio.resampler import AudioResampler

from crossan.extract.media.containers import check_span, first_stream, open_container, packets_of, promised_seconds
from crossan.extract.media.faults import AbsentMedium, MediaError, MediaFault
from crossan.extract.media.recipe import CLIP_LENGTH_S

__all__ = ["decode_audio"]

_SHORTEST_S = 0.025
"""One analysis window of a mel filter bank."""

_MOST_CHANNELS = 64
"""No codec that we meet gives more; a header that claims thousands would cost gigabytes."""

_RATES_HZ = (1_000, 768_000)
"""Rates that sound is recorded at; a damaged one makes the resampler build filters for seconds."""


def decode_audio(path: Path, *, sampling_rate: int) -> npt.NDArray[np.float32]:
    """Return the clip as mono float32, shape ``(samples,)``; a shorter file gives fewer samples.

    Full scale is 1; a lossy codec may overshoot it.

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
    with open_container(path) as container:
        stream = first_stream(container, "audio")
        if stream is None:
            if container.streams.video:
                raise AbsentMedium("the video has no sound track")
            raise MediaError(MediaFault.NO_AUDIO_STREAM, "the file has no sound")
        promised = promised_seconds(container, stream, path)
        wanted = round(CLIP_LENGTH_S * sampling_rate)
        samples, broken_packets = _decode(container, stream, sampling_rate, wanted)
    found = len(samples) / sampling_rate
    check_span(found, promised, broken_packets)
    if not len(samples):
        raise MediaError(MediaFault.CORRUPT if broken_packets else MediaFault.NO_FRAMES, "no sample could be decoded")
    if found < _SHORTEST_S:
        raise MediaError(MediaFault.TOO_SHORT, f"expected at least {_SHORTEST_S} s, found {found:.4f} s")
    return samples


def _decode(
    container: Any,  # noqa: ANN401 - PyAV's types are C extensions
    stream: Any,  # noqa: ANN401
    sampling_rate: int,
    wanted: int,
) -> tuple[npt.NDArray[np.float32], int]:
    resampler = AudioResampler(format="flt", rate=sampling_rate)
    parts: list[npt.NDArray[np.float32]] = []
    count = broken = 0
    for packet in packets_of(container, stream):
        try:
            decoded = packet.decode()
            _check_format(decoded)
            frames = [heard for frame in decoded for heard in resampler.resample(frame)]
        except MediaError:
            raise
        except (av.error.FFmpegError, ValueError):  # ValueError: the stream changes its layout
            broken += 1
            continue
        parts += [_mix(frame) for frame in frames]
        count += sum(frame.samples for frame in frames)
        if count >= wanted:
            break
    else:
        parts += [_mix(frame) for frame in resampler.resample(None)]
    samples = np.concatenate(parts)[:wanted] if parts else np.zeros(0, np.float32)
    return np.nan_to_num(samples, copy=False), broken


def _check_format(frames: list[Any]) -> None:
    for frame in frames:
        if frame.layout.nb_channels > _MOST_CHANNELS:
            raise MediaError(MediaFault.CORRUPT, f"{frame.layout.nb_channels:,} channels > {_MOST_CHANNELS}")
        if not _RATES_HZ[0] <= frame.sample_rate <= _RATES_HZ[1]:
            raise MediaError(
                MediaFault.CORRUPT, f"{frame.sample_rate:,} Hz is outside {_RATES_HZ[0]:,}-{_RATES_HZ[1]:,}"
            )


def _mix(frame: Any) -> npt.NDArray[np.float32]:  # noqa: ANN401
    """Return the mean of the channels; swresample's own mix to mono is louder than its inputs.

    The samples come interleaved: PyAV 18 reads past the planes of a planar
    frame that has more than eight channels, and the process ends.
    """
    interleaved: npt.NDArray[np.float32] = frame.to_ndarray()  # (1, samples * channels)
    mixed: npt.NDArray[np.float32] = interleaved.reshape(frame.samples, -1).mean(axis=1, dtype=np.float32)
    return mixed
