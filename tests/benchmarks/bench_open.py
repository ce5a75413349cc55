"""Opening a store of a million items: seconds and memory.

The index is synthetic, the chunks are sparse files of the right size: opening
reads no chunk. Each repeat is a process of its own.

    python tests/benchmarks/bench_open.py
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).parents[1]))

from crossan.cache_schema.modality import Modality
from crossan.cache_schema.segment import ITEM_INDEX
from support.sparse import make_identity, segment_id, write_sparse_store

LAYERS, DIM = 7, 768
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
        write_sparse_store(store, make_identity(Modality.TEXT, LAYERS, DIM), arguments.items)
        index = (store / "segments" / segment_id(0) / ITEM_INDEX).stat().st_size
        found = [
            json.loads(
                subprocess.run(
                    [sys.executable, "-c", OPEN, store], check=True, capture_output=True
                ).stdout
            )
            for _ in range(arguments.repeats)
        ]
    seconds, peak = (float(np.median([one[name] for one in found])) for name in ("seconds", "peak"))
    print(
        f"{found[0]['items']:,} items: opened in {seconds:.2f} s (median of {arguments.repeats} processes)"
    )
    print(
        f"peak memory {peak / 2**20:.0f} MiB above that before, of which the ids and presence stay: ",
        end="",
    )
    print(f"{found[0]['arrays'] / 2**20:.0f} MiB; the index on disk has {index / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
