"""Plan which frames of a clip need no decoding.

A frame that no other refers to may be left out without changing any other
frame. The decoder knows which those are, and the container's timestamps say
which are chosen. Where a stream gives the least reason to doubt either, no plan
is made, and every frame is decoded.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

__all__ = ["SkipPlan", "can_skip", "is_past", "plan_skips"]

_CODECS = ("h264", "hevc")
_LENGTH_PREFIXED = 1
"""First byte of the extra data of a stream whose units begin with their length."""
_HEVC_LENGTH_AT = 21
"""Where the extra data of HEVC says how many bytes those lengths have."""
_LENGTH_BYTES = 4
_HEVC_SLICES = 32
"""Unit types below this are slices."""

_MOST_PACKETS = 2_000
_MOST_BYTES = 64_000_000
"""More than this in three seconds is not held back for a plan."""


@dataclass(frozen=True, slots=True)
class SkipPlan:
    """What to send to the decoder, and what must come out."""

    packets: Sequence[tuple[Any, bool]]
    """In decoding order, each with whether its frame is needed though no other refers to it."""
    chosen_pts: Sequence[int]
    """Timestamp of the frame on the screen at each moment."""
    first_pts: int
    times: Sequence[float]
    """When each frame is shown, decoded or not, in seconds of the clip up to its last moment."""
    goes_on: bool
    """Whether a frame comes after the last moment, which must come out as well."""


def can_skip(stream: Any, container_name: str) -> bool:  # noqa: ANN401 - a C extension's
    """Tell whether a stream's container and codec say which frames may be left out."""
    context = stream.codec_context
    extra = bytes(context.extradata or b"")
    if container_name != "mov" or context.name not in _CODECS or not stream.time_base:
        return False
    # Units of start codes would have to be searched for; those with a length can be walked.
    if extra[:1] != bytes([_LENGTH_PREFIXED]):
        return False
    if context.name == "h264":
        return True
    # The units of HEVC are walked for their temporal layer, by lengths of four bytes.
    return len(extra) > _HEVC_LENGTH_AT and extra[_HEVC_LENGTH_AT] & 3 == _LENGTH_BYTES - 1


def is_past(packets: Sequence[Any], ticks: float) -> bool:
    """Tell whether every later packet is shown more than ``ticks`` after the first.

    True also where too many packets are held to wait for more.
    """
    if len(packets) >= _MOST_PACKETS or packets[-1].dts is None or packets[0].pts is None:
        return True
    # Added up now and then only, as it is done for a growing list.
    if len(packets) % 16 == 0 and sum(packet.size for packet in packets) > _MOST_BYTES:
        return True
    # By the time of decoding: no frame is shown before it is decoded, while frames that are decoded
    # later may be shown earlier.
    return bool(packets[-1].dts - packets[0].pts > ticks)


def plan_skips(
    stream: Any,  # noqa: ANN401 - a C extension's
    packets: Sequence[Any],
    moments: Sequence[float],
) -> SkipPlan | None:
    """Plan the decoding of a clip, or return None where the stream is not plain enough.

    Parameters
    ----------
    stream
        Of which nothing was decoded yet.
    packets
        The stream's packets in decoding order, up to one that is decoded after the
        last moment, or to the flushing one.
    moments
        Seconds after the first frame, ascending.
    """
    has_ended = packets[-1].size == 0
    frames = packets[:-1] if has_ended else packets
    if not frames or not all(map(_is_plain, frames)):
        return None
    base = frames[0].time_base
    if not has_ended and _seconds(base, frames[-1].dts - frames[0].pts) <= moments[-1]:
        return None
    order = [packet.pts for packet in frames]
    shown = sorted(order)
    if len(set(order)) < len(order) or shown[0] != order[0]:
        return None
    # A decoder that holds back fewer frames than this drops some, and which ones depends on what
    # it decodes.
    if _reorder_depth(order) > stream.codec_context.reorder_depth:
        return None
    if stream.codec_context.name == "hevc" and not all(map(_has_one_sublayer, frames)):
        return None
    start = _seconds(base, shown[0])
    times = [_seconds(base, pts) - start for pts in shown]
    chosen = [shown[bisect.bisect_right(times, moment) - 1] for moment in moments]
    within = bisect.bisect_right(times, moments[-1])
    goes_on = within < len(times)
    # What comes next, or how long the last frame is shown, tells a whole clip from a torn one.
    ending = shown[within : within + 1] if goes_on else shown[-2:]
    needed = {shown[0], *chosen, *ending}
    last = max(number for number, pts in enumerate(order) if pts in needed)
    sent = [(packet, packet.pts in needed) for packet in frames[: last + 1]]
    return SkipPlan(sent, chosen, shown[0], times[:within], goes_on)


def _seconds(time_base: Fraction, ticks: int) -> float:
    """Return a time in seconds."""
    # To the last bit as PyAV computes that of a frame: a moment may fall exactly on one.
    return float(ticks) * time_base.numerator / time_base.denominator


def _is_plain(packet: Any) -> bool:  # noqa: ANN401
    has_times = packet.pts is not None and packet.dts is not None and packet.pts >= packet.dts
    return has_times and packet.size > 0 and not packet.is_corrupt and not packet.is_discard


def _reorder_depth(order: Sequence[int]) -> int:
    """Return the most frames that are decoded before one that is shown before them."""
    seen: list[int] = []
    depth = 0
    for pts in order:
        depth = max(depth, len(seen) - bisect.bisect(seen, pts))
        bisect.insort(seen, pts)
    return depth


def _has_one_sublayer(packet: Any) -> bool:  # noqa: ANN401
    """Tell whether all slices of a packet are of the lowest temporal layer."""
    # A frame that none of its own layer refers to may still be referred to by a higher one.
    data = memoryview(packet)
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + _LENGTH_BYTES])
        unit = data[at + _LENGTH_BYTES : at + _LENGTH_BYTES + size]
        if len(unit) < size or size < 2:
            return False
        if unit[0] >> 1 & 63 < _HEVC_SLICES and unit[1] & 7 != 1:
            return False
        at += _LENGTH_BYTES + size
    return True
