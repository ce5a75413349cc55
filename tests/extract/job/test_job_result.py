"""The report of a job, and the share of bad items that stops it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from crossan.cache_schema.errors import DataError
from crossan.cache_schema.modality import ItemStatus, Modality
from crossan.extract.job.result import JobResult, Outlook, check_bad_share, count_statuses
from crossan.extract.job.spread import Spread


def _result(ok, missing, quarantined, **changes):
    values = {
        "modality": Modality.IMAGE,
        "store": Path("/cache/store"),
        "version": 2,
        "fingerprint": "f" * 64,
        "item_count": 200,
        "statuses": Counter({"ok": ok, "missing": missing, "quarantined": quarantined}),
        "reasons": Counter({"truncated": quarantined}),
        "forwarded": 7,
        "replaced": 0,
        "seconds": 1.25,
    }
    return JobResult(**(values | changes))


def test_json_has_the_promised_keys():
    assert _result(190, 3, 7).to_dict() == {
        "modality": "image",
        "store": "/cache/store",
        "version": 2,
        "fingerprint": "f" * 64,
        "ok": 190,
        "absent": 0,
        "missing": 3,
        "quarantined": 7,
        "forwarded": 7,
        "replaced": 0,
        "seconds": 1.25,
    }


def test_a_dry_run_says_what_is_left():
    result = _result(0, 0, 0, outlook=Outlook(to_forward=200, estimated_bytes=3_000_000))
    assert (
        result.to_dict() | {"dry_run": True, "to_forward": 200, "estimated_bytes": 3_000_000}
        == result.to_dict()
    )
    assert "to forward 200, about 3.0 MB" in result.to_text()


def test_text_says_what_is_not_extracted_yet():
    assert (
        "190 ok, 0 absent, 0 missing, 0 quarantined, 10 not extracted yet"
        in _result(190, 0, 0).to_text()
    )


def test_exactly_the_allowed_share_passes():
    check_bad_share([_result(198, 1, 1)], 0.01)  # 2 of 200 is 1%


def test_above_the_allowed_share_all_modalities_are_named():
    over = [_result(197, 1, 2), _result(200, 0, 0), _result(190, 10, 0, modality=Modality.VIDEO)]
    with pytest.raises(DataError, match="more items are bad than --max-bad 1% allows") as caught:
        check_bad_share(over, 0.01)
    assert (
        "image: 3 of 200 items (1.50%): 1 missing, 2 quarantined (truncated 2)"
        in caught.value.message
    )
    assert "video: 10 of 200 items (5.00%): 10 missing, 0 quarantined" in caught.value.message
    assert "quarantine.jsonl" in caught.value.remedy


def test_items_of_other_datasets_do_not_count():
    statuses = [ItemStatus.OK, ItemStatus.QUARANTINED, ItemStatus.QUARANTINED]
    reasons = [None, "truncated: half a file", "corrupt: x"]
    by_status, by_reason = count_statuses(["a", "b", "old"], statuses, reasons, {"a", "b"})
    assert by_status == {"ok": 1, "quarantined": 1}
    assert by_reason == {"truncated": 1}


def test_a_result_says_how_layers_differ_and_warns_of_flat_ones():
    spread = Spread((0, 6), 1, 2)
    spread.add(np.array([[[1.0], [1.0]], [[1.0], [0.0]]], dtype=np.float32))
    result = _result(190, 3, 7, spread=spread)
    assert result.to_dict()["spread"] == {
        "items": 2,
        "deviation": {"0": 0.0, "6": pytest.approx(0.5**0.5)},
    }
    assert "differences between 2 items: layer 0 0.0%, layer 6 70.7%" in result.to_text()
    (warning,) = result.warnings()
    assert warning.startswith("warning: image, layer 0: nearly the same for every item")
    assert "With --pooling cls that is usual" in warning
    assert _result(190, 3, 7).warnings() == []


def test_of_one_item_nothing_is_said_to_differ():
    spread = Spread((0,), 1, 1)
    spread.add(np.ones((1, 1, 1), dtype=np.float32))
    result = _result(190, 3, 7, spread=spread)
    assert "differences" not in result.to_text()
    assert result.warnings() == []
