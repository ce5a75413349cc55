"""A small dataset with fabricated stores, made without a backbone: users keep to a topic, and stores show it."""

import numpy as np
import pyarrow as pa

from crossan.cache_schema.identity import StoreIdentity
from crossan.cache_schema.modality import ItemStatus, Modality
from crossan.common.contents.digests import text_digest
from crossan.common.datasets import write_dataset
from crossan.common.stores import (
    ItemRow,
    Journal,
    create_store,
    encode_rows,
    find_stores,
    open_store,
    store_folder,
)

TOPICS, PER_TOPIC, USERS = 4, 10, 150
DIM = 8


def make_sequences(seed=0):
    """Each user stays in one topic; the last item of every third user is one nobody else meets before the end."""
    random = np.random.default_rng(seed)
    rows = []
    for user in range(USERS):
        topic = int(random.integers(TOPICS))
        warm = random.permutation(PER_TOPIC - 3)[:6].tolist()
        ending = [int(random.integers(PER_TOPIC - 3, PER_TOPIC))] if user % 3 == 0 else []
        rows += [
            (f"u{user:03d}", f"i{topic}{item}", time) for time, item in enumerate([*warm, *ending])
        ]
    return rows


def digest_of_title(item):
    return text_digest(f"title of {item}")


def write_rows(folder, rows, items=None, order=None, titles=None, media=None):
    """Write a dataset named small; ``titles`` by item id replace some, ``media`` are paths by column and item."""
    titles, media = titles or {}, media or {}
    items = items or [f"i{topic}{item}" for topic in range(TOPICS) for item in range(PER_TOPIC)]
    if order is not None:
        rows = [rows[n] for n in order.permutation(len(rows))]
        items = [items[n] for n in order.permutation(len(items))]
    paths = {
        column: pa.array([media.get(column, {}).get(item) for item in items], pa.string())
        for column in ("image", "video", "audio")
    }
    return write_dataset(
        folder, name="small", source_format="test", licence="none",
        interactions=pa.table({"user_id": [r[0] for r in rows], "item_id": [r[1] for r in rows], "timestamp": [r[2] for r in rows]}),
        items=pa.table({"item_id": items, "title": [titles.get(i, f"title of {i}") for i in items], **paths}),
    )  # fmt: skip


def write_store(
    cache,
    modality,
    *,
    items=None,
    layers=(0, 1),
    absent=(),
    name="made-up",
    order=None,
    digest_of=None,
    flat=(),
):
    """Write a store whose rows show the topic, plus the item's own noise.

    ``digest_of`` gives each item's content digest; the default is that of its title in the text
    store, and none in others, as the dataset has nothing else. Every item has the same row in the
    ``flat`` layers, which are counted from 0.
    """
    if digest_of is None and modality is Modality.TEXT:
        digest_of = digest_of_title
    identity = StoreIdentity(
        modality=modality,
        backbone={"id": name},
        inputs={},
        capture={"layers": list(layers), "pooling": "cls"},
        dim=DIM,
    )
    folder = store_folder(cache, "small", identity)
    create_store(folder, identity, np.zeros((4, len(layers), DIM), np.float32))
    journal = Journal.open(folder, "test")
    items = items or [f"i{topic}{item}" for topic in range(TOPICS) for item in range(PER_TOPIC)]
    means = np.random.default_rng([7, modality.order]).normal(size=(TOPICS, len(layers), DIM))
    batch = []
    for item in items if order is None else [items[n] for n in order.permutation(len(items))]:
        noise = np.random.default_rng([int(item[1:]), modality.order]).normal(size=means[0].shape)
        states = means[int(item[1])] + 0.3 * noise
        states[list(flat)] = 0.3
        stored, problems = encode_rows(states[None].astype(np.float32), "float16")
        assert problems == [None]
        status = ItemStatus.ABSENT if item in absent else ItemStatus.OK
        digest = None if digest_of is None else digest_of(item)
        batch.append(ItemRow(item, digest, status, None, None if item in absent else stored[0]))
    journal.append(batch)
    journal.publish({})
    journal.close()
    return folder


def write_small(folder):
    """Write a dataset ``d`` and a cache ``c`` with text and image stores; return the folder."""
    write_rows(folder / "d", make_sequences())
    write_store(folder / "c", Modality.TEXT)
    write_store(folder / "c", Modality.IMAGE, absent={"i00", "i15"})
    return folder


def append_like(cache, new, old):
    """Append an item to every store of a cache, with the hidden states of another."""
    for modality in (Modality.TEXT, Modality.IMAGE):
        (path,) = find_stores(cache, "small", modality)
        store = open_store(path)
        row = int(np.searchsorted(store.item_ids, old))
        (stored,) = store.read_stored(np.array([row]))
        journal = Journal.open(path, "more")
        journal.append([ItemRow(new, None, ItemStatus.OK, None, stored)])
        journal.publish({})
        journal.close()
