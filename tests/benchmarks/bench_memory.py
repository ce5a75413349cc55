"""Peak memory of crossan-train under --max-ram, from twenty thousand items to a million.

The stores are sparse (`sparse`): whole indexes, rows that are holes, checksums
that hold. Users, batch and budget are the same for every size; each training is
a process of its own, one epoch with validation and the final ranking.

    python tests/benchmarks/bench_memory.py --items 20000 1000000
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path.append(str(TESTS))

from support.sparse import PER_USER, write_sparse_place  # noqa: E402

TRAIN = """
import re, pathlib, sys
from crossan.train.cli import main
def peak(): return re.search(r"VmHWM:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text())[1]
try:
    main()
finally:
    print("peak", peak(), file=sys.stderr)  # not ru_maxrss: a child begins with its parent's
"""


def main() -> None:
    """Train on every size and print the peaks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, nargs="*", default=[20_000, 1_000_000])
    parser.add_argument("--modalities", type=int, default=4)
    parser.add_argument("--layers", type=int, default=7)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--max-ram", default="900MiB")
    parser.add_argument("--users", type=int, help="default: as many as the largest catalogue needs")
    arguments = parser.parse_args()
    users = arguments.users or -(-max(arguments.items) // PER_USER)
    print(f"{arguments}, {users:,} users, load {os.getloadavg()[0]:.1f}")
    print(
        "| items | hidden states | peak MiB | against the first | seconds |\n|---|---|---|---|---|"
    )
    first = None
    for items in arguments.items:
        with tempfile.TemporaryDirectory() as folder:
            write_sparse_place(
                Path(folder), items, users, arguments.modalities, arguments.layers, arguments.dim
            )
            begun = time.monotonic()
            peak = train(Path(folder), arguments.batch_size, arguments.max_ram)
        first = first or peak
        size = items * arguments.modalities * arguments.layers * arguments.dim * 2
        took = time.monotonic() - begun
        print(
            f"| {items:,} | {size / 2**30:.1f} GiB | {peak / 2**20:,.0f} | {peak / first:.3f} | {took:.0f} |",
            flush=True,
        )


def train(folder: Path, batch_size: int, max_ram: str) -> int:
    """Train for one epoch; return the peak in bytes."""
    command = [
        sys.executable, "-c", TRAIN, "--dataset", folder / "d", "--cache", folder / "c", "--out", folder / "r",
        "--device", "cpu", "--max-ram", max_ram, "--set", "max_epochs=1", "--set", f"batch_size={batch_size}",
        "--set", "model.bottleneck_dim=8",
    ]  # fmt: skip
    found = subprocess.run(
        [str(part) for part in command], check=False, capture_output=True, text=True
    )
    if found.returncode:
        sys.exit(found.stderr)
    lines = found.stderr.splitlines()
    print(next(line for line in lines if line.startswith("features:")), file=sys.stderr)
    return int(lines[-1].split()[1]) * 1024


if __name__ == "__main__":
    main()
