"""Which packets may go undecoded, on streams made of plain numbers."""

from fractions import Fraction
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossan.extract.media.skipping import can_skip, is_past, plan_skips

AVC = bytes([1, 100, 0, 11, 255])
HEVC = bytes([1] + [0] * 20 + [0xFF, 0])
SLICE = (2).to_bytes(4) + bytes([0, 1])  # a slice's header: type 0, temporal layer 0


class Packet(bytes):
    def __new__(cls, pts, dts=None, *, data=SLICE, is_corrupt=False, is_discard=False):
        packet = super().__new__(cls, data)
        packet.pts, packet.dts = pts, pts if dts is None else dts
        packet.size, packet.time_base = len(data), Fraction(1, 10)
        packet.is_corrupt, packet.is_discard = is_corrupt, is_discard
        return packet


FLUSH = Packet(None, data=b"")


def stream(codec="h264", *, depth=2, extradata=AVC, time_base=Fraction(1, 10)):
    context = SimpleNamespace(name=codec, reorder_depth=depth, extradata=extradata)
    return SimpleNamespace(codec_context=context, time_base=time_base)


def needed(plan):
    return [packet.pts for packet, is_needed in plan.packets if is_needed]


def test_first_chosen_and_following_frames_are_needed():
    # Ten frames per second; moments 0.45 s and 0.85 s show frames 4 and 8; 9 ends the clip.
    packets = [Packet(k) for k in range(11)]
    plan = plan_skips(stream(), packets, [0.45, 0.85])
    assert (needed(plan), plan.chosen_pts, plan.first_pts, plan.goes_on) == (
        [0, 4, 8, 9],
        [4, 8],
        0,
        True,
    )
    assert len(plan.packets) == 10
    assert plan.times == pytest.approx([k / 10 for k in range(9)])


def test_of_a_short_clip_the_last_two_are_needed():
    plan = plan_skips(stream(), [*map(Packet, range(6)), FLUSH], [0.1, 0.9])
    assert (needed(plan), plan.chosen_pts, plan.goes_on) == ([0, 1, 4, 5], [1, 5], False)


def test_frames_are_chosen_by_when_they_are_shown_not_sent():
    order = [0, 4, 2, 1, 3, 8, 6, 5, 7, 12, 10, 9, 11]
    packets = [Packet(pts, dts) for dts, pts in enumerate(order, start=-2)]
    plan = plan_skips(stream(), packets, [0.35, 0.65])
    assert (needed(plan), plan.chosen_pts) == ([0, 3, 6, 7], [3, 6])
    assert [packet.pts for packet, _ in plan.packets] == [0, 4, 2, 1, 3, 8, 6, 5, 7]


@pytest.mark.parametrize(
    "packets",
    [
        [],
        [Packet(0), Packet(1)],  # the last moment may still come
        [Packet(0), Packet(1), Packet(1), FLUSH],
        [Packet(1), Packet(0, 0), FLUSH],  # something is shown before the first
        [Packet(0), Packet(None), FLUSH],
        [Packet(0), Packet(1, 2), FLUSH],
        [Packet(0), Packet(1, is_corrupt=True), FLUSH],
        [Packet(0), Packet(1, is_discard=True), FLUSH],
    ],
)
def test_odd_streams_have_no_plan(packets):
    assert plan_skips(stream(), packets or [FLUSH], [0.5]) is None


def test_a_decoder_that_holds_back_too_few_frames_has_no_plan():
    packets = [*(Packet(pts, dts) for dts, pts in enumerate([0, 4, 2, 1, 3], start=-2)), FLUSH]
    assert plan_skips(stream(depth=1), packets, [0.1]) is None
    assert plan_skips(stream(depth=2), packets, [0.1]) is not None


@pytest.mark.parametrize(
    ("unit", "has_plan"),
    [
        (SLICE, True),
        (
            (3).to_bytes(4) + bytes([64, 3, 0]) + SLICE,
            True,
        ),  # a parameter set of a higher layer is no slice
        ((2).to_bytes(4) + bytes([0, 2]), False),  # temporal layer 1
        ((9).to_bytes(4) + bytes([0, 1]), False),  # longer than what is there
        ((1).to_bytes(4) + bytes([0]), False),
    ],
)
def test_temporal_layers_have_no_plan(unit, has_plan):
    packets = [Packet(0), Packet(1, data=unit), Packet(2), FLUSH]
    assert (plan_skips(stream("hevc"), packets, [0.15]) is not None) is has_plan


def test_only_known_codecs_in_a_container_with_timestamps_are_skipped():
    assert can_skip(stream(), "mov")
    assert can_skip(stream("hevc", extradata=HEVC), "mov")
    assert not can_skip(stream(), "matroska")
    assert not can_skip(stream("mpeg4"), "mov")
    assert not can_skip(stream(extradata=b"\0\0\0\1"), "mov")
    assert not can_skip(stream("hevc", extradata=HEVC[:21] + b"\xfc\0"), "mov")
    assert not can_skip(stream(extradata=None), "mov")
    assert not can_skip(stream(time_base=None), "mov")


def test_not_too_much_is_held_back(monkeypatch):
    still = [Packet(0) for _ in range(16)]
    assert not is_past(still, 10)
    assert is_past([*still, Packet(11)], 10)
    monkeypatch.setattr("crossan.extract.media.skipping._MOST_BYTES", 16 * len(SLICE) - 1)
    assert is_past(still, 10)
    monkeypatch.setattr("crossan.extract.media.skipping._MOST_PACKETS", 10)
    assert is_past(still[:10], 10)


@given(
    st.lists(st.integers(1, 12), min_size=1, max_size=40),
    st.lists(st.floats(0, 2.9), min_size=1, max_size=9),
)
def test_what_is_chosen_is_what_a_viewer_sees(gaps, moments):
    times, moments = [sum(gaps[:k]) for k in range(len(gaps) + 1)], sorted(moments)
    plan = plan_skips(stream(), [*map(Packet, times), FLUSH], moments)
    assert plan.chosen_pts == [max(t for t in times if t / 10 <= moment) for moment in moments]
    assert set(needed(plan)) >= set(plan.chosen_pts)
