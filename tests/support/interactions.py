"""Tables of interactions from rows of user, item and time."""

import pyarrow as pa


def make_table(rows):
    return pa.table(
        {
            "user_id": pa.array([row[0] for row in rows], pa.string()),
            "item_id": pa.array([row[1] for row in rows], pa.string()),
            "timestamp": pa.array([row[2] for row in rows], pa.int64()),
        }
    )
