"""A small store, made by the product's own writer, that every test here may damage as it likes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crossan.cache_schema.identity import StoreIdentity
from crossan.cache_schema.modality import ItemStatus, Modality
from crossan.common.stores import ItemRow, Journal, create_store, encode_rows

IdentityMaker = Callable[..., StoreIdentity]


@pytest.fixture
def make_identity() -> IdentityMaker:
    """Return a maker of identities; keywords replace its fields."""

    def make(**fields: Any) -> StoreIdentity:
        plain: dict[str, Any] = {
            "modality": Modality.TEXT,
            "backbone": {"id": "tiny/bert", "family": "bert", "revision": "main"},
            "inputs": {"max_length": 32},
            "capture": {"layers": [0, 2, 4], "pooling": "cls"},
            "dim": 8,
        }
        return StoreIdentity(**{**plain, **fields})

    return make


@pytest.fixture
def make_rows() -> Callable[..., list[ItemRow]]:
    """Return a maker of items that are ok: item number ``n`` at layer place ``l`` holds ``n + l / 4`` throughout."""

    def make(
        numbers: range, stored_dtype: str = "float16", dim: int = 8, layer_count: int = 3
    ) -> list[ItemRow]:
        values = np.add.outer(
            np.array(numbers, np.float32), np.arange(layer_count, dtype=np.float32) / 4
        )
        stored, problems = encode_rows(np.repeat(values[:, :, None], dim, axis=2), stored_dtype)
        assert problems == [None] * len(numbers)
        return [
            ItemRow(f"v{number:05d}", f"{number:064x}", ItemStatus.OK, row=row)
            for number, row in zip(numbers, stored, strict=True)
        ]

    return make


@pytest.fixture
def begin_store(tmp_path: Path) -> Callable[[StoreIdentity], Path]:
    """Return a function that begins an empty store under the test's own folder."""

    def begin(identity: StoreIdentity, name: str = "store") -> Path:
        folder = tmp_path / name
        create_store(
            folder, identity, np.zeros((4, len(identity.layers), identity.dim), np.float32)
        )
        return folder

    return begin


@pytest.fixture
def store(
    begin_store: Callable[[StoreIdentity], Path],
    make_identity: IdentityMaker,
    make_rows: Callable[..., list[ItemRow]],
) -> Path:
    """Return a store of two versions: items 0-4 ok and 7 absent; then item 2 with 102's values and 9 quarantined."""
    folder = begin_store(make_identity())
    journal = Journal.open(folder, "shard 1/1")
    journal.append([*make_rows(range(5)), ItemRow("v00007", None, ItemStatus.ABSENT)])
    assert journal.publish({"seconds": 1.0}) == 1
    changed = make_rows(range(102, 103))[0]
    journal.append(
        [
            ItemRow("v00002", "f" * 64, ItemStatus.OK, row=changed.row),
            ItemRow("v00009", "e" * 64, ItemStatus.QUARANTINED, "truncated"),
        ]
    )
    assert journal.publish({}) == 2
    journal.close()
    return folder
