"""Stores to damage: one that is mapped, one that is not, one that is packed."""

from __future__ import annotations

import numpy as np
import pytest

from crossan.cache_schema.identity import StoreIdentity
from crossan.cache_schema.modality import ItemStatus
from crossan.common.stores import ItemRow, Journal, create_store

SHAPES = {
    "mapped": (64, "raw", 2, 600),
    "scattered": (8, "raw", 3, 60),
    "packed": (8, "zstd", 3, 60),
}


def make_store(path, kind):
    """Write a store of three segments: items, some of them again, and some without hidden states."""
    dim, codec, layer_count, item_count = SHAPES[kind]
    identity = StoreIdentity(
        modality="text",
        backbone={"id": "made/up"},
        inputs={},
        capture={"layers": list(range(layer_count)), "pooling": "cls"},
        dim=dim,
        codec=codec,
    )
    create_store(path, identity, np.ones((4, layer_count, dim), np.float32))
    values = np.random.default_rng(0).normal(size=(item_count, layer_count, dim)).astype(np.float16)
    rows = [
        ItemRow(f"v{n:05d}", f"{n:064x}", ItemStatus.OK, row=values[n]) for n in range(item_count)
    ]
    journal = Journal.open(path, "j")
    for batch in (
        rows[: item_count // 2],
        [*rows[item_count // 2 :], ItemRow("w1", None, ItemStatus.ABSENT)],
    ):
        journal.append(batch)
        journal.publish({})
    journal.append([ItemRow("v00003", "f" * 64, ItemStatus.OK, row=values[9])])
    journal.append(
        [
            ItemRow("w2", "e" * 64, ItemStatus.QUARANTINED, "truncated"),
            ItemRow("v00005", None, ItemStatus.DELETED),
        ]
    )
    journal.publish({})
    journal.close()
    return path


@pytest.fixture(scope="module", params=list(SHAPES))
def sample(request, tmp_path_factory):
    """Return a store that a test may damage if it puts everything back."""
    return make_store(tmp_path_factory.mktemp(request.param) / "store", request.param)
