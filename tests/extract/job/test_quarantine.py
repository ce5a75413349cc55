"""Reasons say what was found in fixed words, and a release that reads more tries the unreadable again."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from crossan.cache_schema.modality import ItemStatus, Modality
from crossan.common.stores import open_store
from crossan.extract.job import quarantine
from crossan.extract.job.quarantine import is_final, split_reason, with_reader
from crossan.extract.job.request import JobRequest
from crossan.extract.job.run import extract_modality
from crossan.extract.media import ClipReader, MediaError, MediaFault
from crossan.extract.workers import DecodeOrder, ItemReader, item
from support.counts import of_full
from support.hostile.sources import sources_of

SECRET = b"Zq7_kV2!"
"""Bytes that no decoder has a word for."""


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("truncated: half a file", ("truncated", "half a file")),
        ("truncated: mov: End of file (reader 2)", ("truncated", "mov: End of file")),
        ("bad-value (reader 12)", ("bad-value", "")),
        (None, ("unknown", "")),
    ],
)
def test_a_reason_is_a_word_and_a_detail(text, parts):
    assert split_reason(text) == parts


def test_only_what_this_release_refused_is_final(monkeypatch):
    reason = with_reader("corrupt: no")
    assert is_final("digest", reason)
    assert not is_final("digest", "corrupt: no")
    assert not is_final("digest", with_reader("over-time: no"))
    # Looked at anew by every job anyway, and so never tried again for this.
    assert is_final(None, "not-a-file: no")
    monkeypatch.setattr(quarantine, "_THIS_READER", " (reader 999)")
    assert not is_final("digest", reason)


def test_what_an_earlier_release_refused_is_tried_again(
    tmp_path, make_dataset, counting_encoder, monkeypatch
):
    names = ("plain.png", "odd.png", "bad.png")
    for name in names[:2]:
        Image.fromarray(np.full((2, 2, 3), 50, np.uint8)).save(tmp_path / name)
    (tmp_path / "bad.png").write_bytes(b"no picture")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "endless").symlink_to("/dev/zero")
    odd = ("folder", "pipe", "endless")
    items = [{"item_id": name, "image": str(tmp_path / name)} for name in (*names, *odd)]
    make_dataset(tmp_path / "d", items)
    request = JobRequest(dataset=tmp_path / "d", cache=tmp_path / "c", num_workers=0)

    def run():
        return extract_modality(request, counting_encoder(Modality.IMAGE))

    def refuse_the_odd(path, decode=item.decode_image):
        if path.name == "odd.png":
            raise MediaError(MediaFault.CORRUPT, "odd")
        return decode(path)

    with monkeypatch.context() as earlier:
        earlier.setattr(quarantine, "_THIS_READER", " (reader 1)")
        earlier.setattr(item, "decode_image", refuse_the_odd)
        assert dict(run().statuses) == {"ok": 1, "quarantined": 5}
        assert run().version == 1
    now = run()
    assert (now.forwarded, dict(now.statuses), now.version) == (1, {"ok": 2, "quarantined": 4}, 2)
    store = open_store(now.store)
    reasons = dict(zip(store.item_ids.tolist(), store.reasons, strict=True))
    assert reasons["bad.png"].endswith(quarantine._THIS_READER)
    # Once, and not every night.
    assert run().version == 2
    lines = [json.loads(line) for line in (now.store / "quarantine.jsonl").read_text().splitlines()]
    assert [(line["item_id"], line["reason"]) for line in lines] == [
        ("bad.png", "unknown-container"),
        ("endless", "not-a-file"),
        ("folder", "not-a-file"),
        ("pipe", "not-a-file"),
    ]
    assert not any("reader" in line["detail"] for line in lines)


READER = ItemReader(
    dict.fromkeys((Modality.IMAGE, Modality.VIDEO, Modality.AUDIO), lambda decoded: {}),
    ClipReader(frame_count=2, sampling_rate=16_000),
)


@pytest.fixture(scope="module")
def sources():
    return {kind: sources_of(kind) for kind in ("png", "jpeg", "webp", "mp4", "wav", "flac", "mp3")}


# What Pillow warns of is ignored by the product, which pytest undoes.
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@settings(
    max_examples=of_full(150, 50),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.data())
def test_no_reason_quotes_a_file_or_its_path(tmp_path, sources, data):
    kind = data.draw(st.sampled_from(["text", *sources]))
    content = b"" if kind == "text" else data.draw(st.sampled_from(sources[kind]))
    for _ in range(data.draw(st.integers(1, 4))):
        # Over or between what was there, anywhere or where the headers are.
        last = data.draw(st.sampled_from([40, len(content)]))
        at = data.draw(st.integers(0, min(last, len(content))))
        content = content[:at] + SECRET + content[at + data.draw(st.sampled_from([0, 8])) :]
    path = tmp_path / "secret-name"
    path.write_bytes(content)
    for modality in (Modality.IMAGE, Modality.VIDEO, Modality.AUDIO):
        outcome = READER.read(DecodeOrder(Path(path), None, (modality,)))[modality]
        if outcome.status is ItemStatus.OK:
            continue
        assert outcome.reason is not None
        assert SECRET.decode() not in outcome.reason
        assert "secret" not in outcome.reason
        # Part of it as a number or as four letters.
        for start in range(len(SECRET) - 3):
            assert SECRET[start : start + 4].decode() not in outcome.reason
        assert re.fullmatch(r"[\x20-\x7e]{1,120}", outcome.reason)
