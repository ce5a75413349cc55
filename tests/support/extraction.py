"""Datasets of a few made-up items, and ``crossan-extract`` on them: begun, interrupted, finished and checked."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa

from crossan.common.datasets import write_dataset
from crossan.common.stores import fsck, logical_digest, open_store


def write_items(target, items):
    """Write a dataset folder of ``items``, dicts by column of which ``item_id`` alone is needed; return it."""
    columns = {
        name: pa.array([item.get(name) for item in items], pa.string())
        for name in ("item_id", "title", "image", "video", "audio")
    }
    interactions = pa.table(
        {
            "user_id": pa.array(["u"] * len(items), pa.string()),
            "item_id": columns["item_id"],
            "timestamp": pa.array([None] * len(items), pa.int64()),
        }
    )
    write_dataset(
        target,
        name="made-up",
        source_format="table",
        licence="ours",
        interactions=interactions,
        items=pa.table(columns),
    )
    return target


def places(dataset, cache, backbone):
    """Return the arguments of ``crossan-extract`` that name them."""
    return ["--dataset", dataset, "--cache", cache, "--backbone", backbone]


class Extraction:
    """Runs ``crossan-extract`` on one dataset and one cache folder.

    Parameters
    ----------
    item_ids
        What the dataset holds, sorted; all but one can be read.
    """

    def __init__(self, commands, arguments, item_ids):
        self._commands, self._arguments = (
            commands,
            [*map(str, arguments), "--json", "--max-bad", "5%"],
        )
        self.item_ids = item_ids

    def begin(self, cache, after=0):
        """Start the command; return its process id."""
        return self._commands.begin(
            "crossan-extract", *self._arguments, "--cache", str(cache), after=after
        )

    def end(self):
        """Wait for the command; return its exit code, negative for a signal."""
        return self._commands.end()

    def output(self):
        """Return what the commands have printed since the last `finish`."""
        return self._commands.output()

    def finish(self, cache):
        """Run the command to its end; return what it reports of its store."""
        return self._commands.finish("crossan-extract", *self._arguments, "--cache", str(cache))[
            "stores"
        ][0]

    def check_whole(self, store, digest):
        """Assert that a store, as `finish` reports it, is the one of an uninterrupted run."""
        opened = open_store(store["store"])
        assert opened.item_ids.tolist() == self.item_ids
        assert (store["ok"], store["quarantined"]) == (len(self.item_ids) - 1, 1)
        assert logical_digest(opened) == digest
        assert fsck(store["store"]).ok
        assert list((Path(store["store"]) / "staging").iterdir()) == []


def row_count(cache):
    """Return how many rows the segments hold together, an item in two segments counted twice."""
    records = cache.glob("*/*/*/segments/*/segment.json")
    return sum(json.loads(record.read_text())["items"] for record in records)
