"""What is kept of a chunk when it is checked: its state, and the sums of its rows."""

from __future__ import annotations

import time

import pytest

from crossan.common.stores import open_store
from crossan.common.stores.checksums import crc32c
from crossan.common.stores.chunk_file import FileState
from crossan.common.stores.file_rows import RowSums

NOW = 1_700_000_000 * 10**9 + 7


def test_the_sums_of_rows_are_those_of_all_bytes_before_them(store):
    opened = open_store(store, 1)
    (chunk,) = opened._rows._chunks
    with chunk.opened() as descriptor:
        sums = RowSums(chunk, descriptor)
    data, row_bytes = chunk.path.read_bytes(), chunk.layout.row_bytes
    assert sums.up_to.tolist() == [
        crc32c(data[: n * row_bytes]) for n in range(chunk.layout.chunk_items + 1)
    ]


@pytest.mark.parametrize(
    ("changed_ns", "is_settled"),
    [
        (NOW - 10**8, True),
        (NOW - 10**7, False),
        (NOW + 10**7, False),
        (NOW // 10**9 * 10**9 - 10**9, False),  # of a clock of whole seconds
        (NOW // 10**9 * 10**9 - 3 * 10**9, True),
    ],
)
def test_a_state_is_settled_when_the_next_write_must_show(monkeypatch, changed_ns, is_settled):
    monkeypatch.setattr(time, "time_ns", lambda: NOW)
    assert FileState(1, 2, 3, 4, changed_ns).is_settled is is_settled
