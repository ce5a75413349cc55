"""The logical digest, which tells whether two stores hold the same."""

from __future__ import annotations

import hashlib
import struct

import numpy as np

from crossan.common.stores.reader import FeatureStore

__all__ = ["logical_digest"]


def logical_digest(store: FeatureStore) -> str:
    """Return the SHA-256 over item id, status and row bytes in item order, 64 hexadecimal digits.

    Segment boundaries, producers, times and the codec make no difference. Hashed are, one after
    another: ``crossan-logical-digest-1``, a line feed, the stored dtype, a line feed, the number
    of layers and the dim as little-endian uint32; then for each item, sorted by id, the byte count
    of its id as little-endian uint32, its id in UTF-8, the byte count of its status as one byte,
    its status, and for ``ok`` its row as stored, little-endian.

    Raises
    ------
    StoreIntegrityError
        A chunk is damaged.
    """
    header = f"crossan-logical-digest-1\n{store.identity.stored_dtype}\n".encode()
    digest = hashlib.sha256(header + struct.pack("<II", len(store.layers), store.dim))
    row = 0
    for rows in store.iter_stored():
        for stored in rows:
            item_id, status = str(store.item_ids[row]).encode(), str(store.status[row]).encode()
            # Lengths before texts: otherwise id "a" with status "bc" would equal id "ab" with "c".
            digest.update(
                struct.pack("<I", len(item_id)) + item_id + struct.pack("<B", len(status)) + status
            )
            if store.presence[row]:
                digest.update(np.ascontiguousarray(stored).data)
            row += 1
    return digest.hexdigest()
