"""Lanes of one job share their files and keep their batches, whatever either of them still has to do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossan.cache_schema.modality import ItemStatus, Modality
from crossan.common.contents.media_list import Medium
from crossan.extract.job.lanes import Lane, prepared_batches
from crossan.extract.job.worklist import Finding
from crossan.extract.workers import MediumOutcome

VIDEO, AUDIO = Modality.VIDEO, Modality.AUDIO


class Encoder:
    def __init__(self, modality):
        self.modality = modality

    def prepare(self, title):
        if title == "refuse":
            raise ValueError("no words")
        return {"size": np.array([len(title)])}


def _lane(modality, findings, batch_size):
    batches = [
        tuple(findings[start : start + batch_size]) for start in range(0, len(findings), batch_size)
    ]
    return Lane(Encoder(modality), batches)


def _found(item_id, path, status=None):
    medium = Medium(item_id, path=None if path is None else Path(path))
    return Finding(medium, None if status else f"digest of {path}", status, None)


class Reader:
    """Answers orders and remembers them."""

    def __init__(self):
        self.orders = []

    def __call__(self, orders):
        for order in orders:
            self.orders.append((str(order.path), order.modalities))
            yield {
                wanted: MediumOutcome({"x": np.array([len(self.orders)])}, notes=("padded",))
                for wanted in order.modalities
            }


def _batches(lanes, read):
    return [
        (lane.encoder.modality, [item.finding.medium.item_id for item in batch])
        for lane, batch in prepared_batches(lanes, read)
    ]


def test_a_file_that_both_want_is_read_once_and_each_lane_keeps_its_batches():
    video = _lane(VIDEO, [_found(name, f"/{name}.mp4") for name in "abcd"], 2)
    audio = _lane(AUDIO, [_found("a", "/a.mp4"), _found("b", "/b.wav"), _found("d", "/d.mp4")], 3)
    reader = Reader()
    assert _batches([video, audio], reader) == [
        (VIDEO, ["a", "b"]),
        (VIDEO, ["c", "d"]),
        (AUDIO, ["a", "b", "d"]),
    ]
    assert reader.orders == [
        ("/a.mp4", (VIDEO, AUDIO)),
        ("/b.mp4", (VIDEO,)),
        ("/b.wav", (AUDIO,)),
        ("/c.mp4", (VIDEO,)),
        ("/d.mp4", (VIDEO, AUDIO)),
    ]
    assert (video.notes, audio.notes) == ({"padded": 4}, {"padded": 3})


def test_what_needs_no_reading_passes_through_with_its_state():
    missing = _found("b", "/b.mp4", ItemStatus.MISSING)
    nothing = Finding(Medium("c"), None, ItemStatus.ABSENT, None)
    reader = Reader()
    ((_, batch),) = prepared_batches(
        [_lane(VIDEO, [_found("a", "/a.mp4"), missing, nothing], 3)], reader
    )
    assert [item.outcome.status for item in batch] == [
        ItemStatus.OK,
        ItemStatus.MISSING,
        ItemStatus.ABSENT,
    ]
    assert len(reader.orders) == 1


def test_titles_are_prepared_in_the_order_of_the_plan_and_a_refused_one_is_quarantined():
    titles = [
        Finding(Medium(name, title), "digest")
        for name, title in (("z", "one"), ("a", "refuse"), ("b", "three"))
    ]
    ((_, batch),) = prepared_batches([_lane(Modality.TEXT, titles, 3)], Reader())
    assert [item.finding.medium.item_id for item in batch] == ["z", "a", "b"]
    assert [item.outcome.inputs and item.outcome.inputs["size"][0] for item in batch] == [
        3,
        None,
        5,
    ]
    assert batch[1].outcome.reason == "unusable-input: ValueError"


def test_a_file_that_went_away_loses_its_digest():
    def gone(orders):
        return (
            dict.fromkeys(order.modalities, MediumOutcome(None, ItemStatus.MISSING, "missing"))
            for order in orders
        )

    ((_, (item,)),) = prepared_batches([_lane(VIDEO, [_found("a", "/a.mp4")], 1)], gone)
    assert (item.finding.digest, item.outcome.status) == (None, ItemStatus.MISSING)


def test_closing_early_closes_the_reader():
    closed = []

    def read(orders):
        try:
            for order in orders:
                yield dict.fromkeys(order.modalities, MediumOutcome({}))
        finally:
            closed.append(True)

    batches = prepared_batches(
        [_lane(VIDEO, [_found(name, f"/{name}") for name in "abcd"], 1)], read
    )
    next(batches)
    batches.close()
    assert closed == [True]


@pytest.mark.parametrize("sizes", [(1, 1), (2, 3), (4, 2)])
@given(
    st.dictionaries(
        st.integers(0, 30), st.sampled_from(["both", "video", "sound", "apart"]), max_size=20
    )
)
def test_side_by_side_gives_what_one_after_the_other_gives(sizes, kinds):
    video_items = [_found(f"{n:02d}", f"/{n}.mp4") for n in sorted(kinds) if kinds[n] != "sound"]
    audio_items = [
        _found(f"{n:02d}", f"/{n}.wav" if kinds[n] in {"sound", "apart"} else f"/{n}.mp4")
        for n in sorted(kinds)
        if kinds[n] != "video"
    ]
    lanes = [_lane(VIDEO, video_items, sizes[0]), _lane(AUDIO, audio_items, sizes[1])]
    together = _batches(lanes, Reader())
    for lane in lanes:
        alone = _batches([Lane(lane.encoder, lane.work)], Reader())
        assert [batch for batch in together if batch[0] is lane.encoder.modality] == alone
