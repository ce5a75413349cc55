"""Opening a store of a million items: seconds and memory.

The index is synthetic, the chunks are sparse files of the right size: opening
reads no chunk. Each repeat is a process of its own.

    python tests/benchmarks/bench_open.py
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from crossan.cache_schema.canonical import pretty_bytes, sha256_hex
from crossan.cache_schema.identity import StoreIdentity
from crossan.cache_schema.layout import ArrayLayout, chunk_item_count, chunk_path, group_metadata
from crossan.cache_schema.manifest import SegmentEntry
from crossan.cache_schema.modality import ItemStatus
from crossan.cache_schema.segment import ARRAY_METADATA, GROUP_METADATA, ITEM_INDEX, FileEntry, SegmentRecord
from crossan.common.stores import create_store
from crossan.common.stores.item_index import index_bytes
from crossan.common.stores.records import StagedItem
from crossan.common.stores.versions import Content, commit

LAYERS, DIM, ROW_BYTES = 7, 768, 7 * 768 * 2
SEGMENT = "20261124T000000-0123456789abcdef"
OPEN = """
import json, pathlib, sys, time
import numpy, pyarrow.compute, pyarrow.parquet
from crossan.common import open_store
def peak():  # not ru_maxrss: a child begins with its parent's
    status = pathlib.Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])
before = peak()
begun = time.perf_counter()
store = open_store(sys.argv[1])
seconds = time.perf_counter() - begun
after = peak()
arrays = store.item_ids.nbytes + store.presence.nbytes
print(json.dumps({"items": len(store.item_ids), "seconds": seconds, "peak": after - before, "arrays": arrays}))
"""


def main() -> None:
    """Write the store, open it a few times, print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=9)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        write_sparse(store, arguments.items)
        index = (store / "segments" / SEGMENT / ITEM_INDEX).stat().st_size
        found = [
            json.loads(subprocess.run([sys.executable, "-c", OPEN, store], check=True, capture_output=True).stdout)
            for _ in range(arguments.repeats)
        ]
    seconds, peak = (float(np.median([one[name] for one in found])) for name in ("seconds", "peak"))
    print(f"{found[0]['items']:,} items: opened in {seconds:.2f} s (median of {arguments.repeats} processes)")
    print(f"peak memory {peak / 2**20:.0f} MiB above that before, of which the ids and presence stay: ", end="")
    print(f"{found[0]['arrays'] / 2**20:.0f} MiB; the index on disk has {index / 2**20:.0f} MiB")


def write_sparse(store: Path, item_count: int) -> None:
    """Write a store of one segment whose chunks are holes."""
    identity = StoreIdentity(
        modality="text", backbone={"id": "bench"}, inputs={}, capture={"layers": list(range(LAYERS))}, dim=DIM
    )
    create_store(store, identity, np.zeros((4, LAYERS, DIM), np.float32))
    layout = ArrayLayout(
        item_count=item_count, chunk_items=chunk_item_count(ROW_BYTES, item_count), layer_count=LAYERS, dim=DIM,
        stored_dtype="float16", codec="raw",
    )  # fmt: skip
    items = [
        StagedItem(f"v{n:07d}", hashlib.sha256(b"%d" % n).hexdigest(), ItemStatus.OK, None, n)
        for n in range(item_count)
    ]
    folder = store / "segments" / SEGMENT
    contents = {
        GROUP_METADATA: pretty_bytes(group_metadata()),
        ARRAY_METADATA: pretty_bytes(layout.to_zarr()),
        ITEM_INDEX: index_bytes(items),
    }
    files = []
    for path, data in contents.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
        files.append(FileEntry(path, len(data), sha256_hex(data), None))
    size = layout.chunk_items * ROW_BYTES + 4
    for number in range(layout.chunk_count):
        path = folder / chunk_path(number)
        path.parent.mkdir(parents=True)
        path.touch()
        os.truncate(path, size)
        files.append(FileEntry(chunk_path(number), size, "0" * 64, 0))
    record = SegmentRecord(
        segment_id=SEGMENT, fingerprint=identity.fingerprint, item_count=item_count, row_count=item_count,
        files=tuple(files),
    )  # fmt: skip
    data = pretty_bytes(record.to_dict())
    (folder / "segment.json").write_bytes(data)
    commit(store, lambda _: Content((SegmentEntry(SEGMENT, sha256_hex(data)),)))


if __name__ == "__main__":
    main()
