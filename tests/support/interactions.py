"""Tables of interactions from rows of user, item and time."""

import pyarrow as pa

from crossan.common.datasets import keep_sequences
from crossan.common.split import LEAVE_LAST_OUT


def make_table(rows):
    return pa.table(
        {
            "user_id": pa.array([row[0] for row in rows], pa.string()),
            "item_id": pa.array([row[1] for row in rows], pa.string()),
            "timestamp": pa.array([row[2] for row in rows], pa.int64()),
        }
    )


def kept_of(sequences, split=LEAVE_LAST_OUT, max_items=13):
    """Return what the protocol keeps of users u00, u01, ... who had items i00, i01, ... in this order."""
    rows = [
        (f"u{user:02d}", f"i{item:02d}", time)
        for user, items in enumerate(sequences)
        for time, item in enumerate(items)
    ]
    return keep_sequences(make_table(rows), max_items=max_items, min_items=3, split=split)
