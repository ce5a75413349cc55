"""A batch size is settled once for a store: asked for, recorded, the modality's own, or found by trying."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from crossan.cache_schema.errors import ResourceError, StoreIntegrityError
from crossan.cache_schema.modality import Modality
from crossan.extract.job.batch_size import (
    BATCH_SIZE_FILE,
    find_batch_size,
    settle_batch_size,
    try_batch_sizes,
)


class Timed:
    """Takes ``overhead + size`` seconds for a batch on a clock of its own; has memory for ``most`` items."""

    modality = Modality.IMAGE
    device = "cpu"

    def __init__(self, overhead, most=10**6):
        self.now, self._overhead, self._most = 0.0, overhead, most

    def prepare(self, medium):
        return {"x": [1]}

    def begin(self, batch):
        if len(batch) > self._most:
            raise MemoryError
        self.now += self._overhead + len(batch)
        return lambda: None


@pytest.mark.parametrize(
    ("overhead", "most", "expected"),
    [
        (0.0, 10**6, 1),  # nothing is gained by batches
        (
            1.0,
            10**6,
            16,
        ),  # rates 1/2, 2/3, 4/5, 8/9, 16/17: 32/33 is 1.03 times the last, less than worthwhile
        (1.0, 5, 4),
        (1000.0, 10**6, 1024),  # the largest tried
    ],
)
def test_the_smallest_size_that_is_about_as_fast_as_any_is_taken(overhead, most, expected):
    encoder = Timed(overhead, most)
    assert try_batch_sizes(encoder, lambda: encoder.now) == expected


class Card(Timed):
    """Has memory for ``most`` items under way, and may say so only when their states are fetched."""

    def __init__(self, most, *, is_late=False):
        super().__init__(1000.0)
        self._room, self._is_late, self.tried = most, is_late, []

    def begin(self, batch):
        self.tried.append(len(batch))
        self._room -= len(batch)
        is_full = self._room < 0
        if is_full and not self._is_late:
            self._room += len(batch)
            raise MemoryError
        super().begin(batch)
        return lambda: self._fetch(len(batch), is_full)

    def _fetch(self, size, is_full):
        self._room += size
        if is_full:
            raise MemoryError


@pytest.mark.parametrize("is_late", [False, True])
@pytest.mark.parametrize(("most", "expected"), [(23, 4), (24, 8), (95, 16), (96, 32)])
def test_sizes_double_while_three_batches_fit_together(most, expected, is_late):
    """As many as a job has under way: 3 * 8 = 24."""
    card = Card(most, is_late=is_late)
    assert try_batch_sizes(card, lambda: card.now) == expected
    assert max(card.tried) == 2 * expected


def test_no_memory_for_one_item_is_an_error():
    with pytest.raises(ResourceError, match="image: the device's memory is too small for one item"):
        try_batch_sizes(Timed(1.0, most=0))


def test_the_first_job_records_its_size_and_later_ones_take_it(tmp_path):
    assert find_batch_size(tmp_path, Modality.IMAGE, None) == 8
    assert settle_batch_size(tmp_path, Timed(1.0), 7, is_automatic=True) == 7
    assert json.loads((tmp_path / BATCH_SIZE_FILE).read_text()) == {
        "batch_size": 7,
        "how": "asked for",
    }
    assert settle_batch_size(tmp_path, Timed(1.0), None, is_automatic=True) == 7
    assert find_batch_size(tmp_path, Modality.IMAGE, None) == 7


def test_another_size_than_the_recorded_one_is_taken_and_said(tmp_path, capsys):
    settle_batch_size(tmp_path, Timed(1.0), None, is_automatic=False)
    assert settle_batch_size(tmp_path, Timed(1.0), 5, is_automatic=False) == 5
    assert "--batch-size 5, while this store was begun with 8" in capsys.readouterr().err
    assert find_batch_size(tmp_path, Modality.IMAGE, None) == 8


def test_jobs_that_begin_together_settle_on_one(tmp_path):
    with ThreadPoolExecutor(8) as threads:
        sizes = list(
            threads.map(
                lambda n: settle_batch_size(tmp_path, Timed(10.0**n), None, is_automatic=True),
                range(8),
            )
        )
    assert len(set(sizes)) == 1


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", '{"batch_size": 0}', '{"batch_size": true}', '{"batch_size": "8"}']
)
def test_a_damaged_record_is_refused(tmp_path, content):
    (tmp_path / BATCH_SIZE_FILE).write_text(content)
    with pytest.raises(StoreIntegrityError, match=r'batch_size.json: expected \{"batch_size": N\}'):
        find_batch_size(tmp_path, Modality.IMAGE, None)
