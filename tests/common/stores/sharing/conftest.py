"""What the tests of shared stores append with."""

from __future__ import annotations

import pytest

from crossan.cache_schema.modality import ItemStatus
from crossan.common.stores import ItemRow, Journal


@pytest.fixture
def append(make_rows):
    """Return a function that appends items with the values of other numbers, as one segment and version."""

    def append(path, numbers, values=None):
        journal = Journal.open(path, "shard 1/1")
        rows = make_rows(numbers)
        if values is not None:
            found = make_rows(values)
            rows = [
                ItemRow(row.item_id, other.content_digest, ItemStatus.OK, row=other.row)
                for row, other in zip(rows, found, strict=True)
            ]
        journal.append(rows)
        version = journal.publish({})
        journal.close()
        return version

    return append
