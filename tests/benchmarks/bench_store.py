"""Speed of the feature store at the MicroLens-100K shape, against what one would use instead.

``make bench-store`` prints a table; every ratio is of medians of interleaved
repeats in one run. Nothing here is a test: machines are noisy.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import zarr
from bare_file import BareFile

from crossan.cache_schema.identity import StoreIdentity
from crossan.cache_schema.layout import ArrayLayout, chunk_item_count
from crossan.cache_schema.modality import ItemStatus
from crossan.common.stores import ItemRow, Journal, create_store, fsck, open_store
from crossan.common.stores.growing.compact import compact
from crossan.common.stores.segment_writer import write_array
from crossan.common.stores.sharing.locations import FolderLocation
from crossan.common.stores.sharing.transfer import transfer

ITEMS, LAYERS, DIM, GATHERED = 19_738, 7, 768, 4_096
MEASURES = ("gather", "memmap", "load", "others", "write", "size", "check", "pull", "append")


def main() -> None:
    """Build the stores in a folder, measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--folder",
        type=Path,
        default=None,
        help="where to write about 2 GB; default: a temporary one",
    )
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--only", nargs="*", default=list(MEASURES), choices=MEASURES)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        bench = Bench(Path(folder), arguments.repeats)
        print(
            f"{os.cpu_count()} cores, torch {torch.__version__}, zarr {zarr.__version__}, {arguments.repeats} repeats, "
            f"OMP_WAIT_POLICY={os.environ.get('OMP_WAIT_POLICY', 'unset')}"
        )
        print("| ratio | ours ms | other ms | ratio | goal |\n|---|---|---|---|---|")
        for measure in arguments.only:
            getattr(bench, measure)()


class Bench:
    """One store, the same values as a raw file and in memory."""

    def __init__(self, folder: Path, repeats: int) -> None:
        self.folder, self.repeats = folder, repeats
        self.values = np.random.default_rng(0).normal(size=(ITEMS, LAYERS, DIM)).astype(np.float16)
        self.raw = folder / "raw.bin"
        self.values.tofile(self.raw)
        self.store = folder / "store"
        identity = StoreIdentity(
            modality="text",
            backbone={"id": "bench"},
            inputs={},
            capture={"layers": list(range(0, 2 * LAYERS, 2))},
            dim=DIM,
        )
        create_store(self.store, identity, np.zeros((4, LAYERS, DIM), np.float32))
        journal = Journal.open(self.store, "bench")
        for start in range(0, ITEMS, 64):
            journal.append(self.rows(range(start, min(start + 64, ITEMS))))
        journal.publish({})
        journal.close()
        self.chance = np.random.default_rng(1)

    def rows(self, numbers: range, offset: int = 0) -> list[ItemRow]:
        """Return items with the values of ``numbers``, named ``offset`` higher."""
        return [
            ItemRow(
                f"v{n + offset:06d}",
                hashlib.sha256(b"%d" % n).hexdigest(),
                ItemStatus.OK,
                row=self.values[n],
            )
            for n in numbers
        ]

    def compare(
        self,
        name: str,
        goal: str,
        ours: Callable[[], object],
        other: Callable[[], object],
        before: Callable[[], object] = lambda: None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Time both in turn, ``before`` untimed ahead of each, and print one line."""
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(self.repeats + 1):
            for work, kept in zip((ours, other), times, strict=True):
                before()
                begun = clock()
                work()
                kept.append(clock() - begun)
        a, b = (float(np.median(kept[1:])) for kept in times)  # the first round warms up
        ratio = b / a if goal.startswith(">") else a / b
        print(f"| {name} | {1e3 * a:.2f} | {1e3 * b:.2f} | {ratio:.2f} | {goal} |", flush=True)

    def gather(self) -> None:
        """Compare `FeatureStore.read` into a reused array with torch.index_select from memory."""
        store, table = open_store(self.store), torch.from_numpy(self.values)
        out = np.empty((GATHERED, LAYERS, DIM), np.float16)
        target = torch.empty((GATHERED, LAYERS, DIM), dtype=torch.float16)
        store.read(np.arange(ITEMS))
        chosen = [self.chance.integers(0, ITEMS, GATHERED) for _ in range(self.repeats + 1)]
        mine, theirs = iter(chosen), iter(chosen)
        self.compare(
            "gather of 4,096 items / torch.index_select from memory", "<= 1.15",
            lambda: store.read(next(mine), out=out),
            lambda: torch.index_select(table, 0, torch.from_numpy(next(theirs)), out=target),
        )  # fmt: skip

    def memmap(self) -> None:
        """Compare both ways of reading with a gather from one file, in CPU seconds."""
        store, bare = open_store(self.store), BareFile(self.raw, self.values.shape)
        out, target = (np.empty((GATHERED, LAYERS, DIM), np.float16) for _ in range(2))
        store.read(np.arange(ITEMS))
        chosen = self.chance.integers(0, ITEMS, GATHERED)

        def compare(
            name: str, goal: str, other: Callable[[], object], *, is_mapped: bool = True
        ) -> None:
            self.compare(
                name, goal, lambda: store.read(chosen, out=out, is_mapped=is_mapped), other,
                clock=time.process_time,
            )  # fmt: skip

        compare("gather / np.take of a memmap, CPU", "<= 1.1", lambda: bare.take(chosen, target))
        compare("gather / memmap[rows], CPU", "<= 1.1", lambda: bare.rows[chosen])
        compare(
            "gather from the files / np.take of a memmap, CPU", "none",
            lambda: bare.take(chosen, target), is_mapped=False,
        )  # fmt: skip
        compare(
            "gather from the files / np.take of a memmap and the CRC32C of the rows, CPU", "none",
            lambda: bare.take_and_sum(chosen, target), is_mapped=False,
        )  # fmt: skip
        compare(
            "gather from the files / preadv and CRC32C of each row alone, CPU", "none",
            lambda: bare.read_and_sum(chosen.tolist(), target), is_mapped=False,
        )  # fmt: skip

    def load(self) -> None:
        """Compare a verified load with np.fromfile."""
        store = open_store(self.store)
        self.compare(
            "verified load / np.fromfile",
            "<= 1.0",
            store.load,
            lambda: np.fromfile(self.raw, np.float16),
        )

    def others(self) -> None:
        """Compare the gather with zarr-python's oindex and with one .pt file per item."""
        store = open_store(self.store)
        segment = self.store / "segments" / store.records[0].segment_id
        array = zarr.open_group(segment, mode="r")["hidden_states"]
        out = np.empty((GATHERED, LAYERS, DIM), np.float16)
        store.read(np.arange(ITEMS))
        chosen = self.chance.integers(0, ITEMS, GATHERED)
        self.compare(
            "zarr-python oindex / gather",
            ">= 50",
            lambda: store.read(chosen, out=out),
            lambda: array.oindex[chosen],
        )
        table, target = torch.from_numpy(self.values), torch.from_numpy(out)
        self.compare(
            "zarr-python oindex / torch.index_select from memory", "> none: what memory allows",
            lambda: torch.index_select(table, 0, torch.from_numpy(chosen), out=target),
            lambda: array.oindex[chosen],
        )  # fmt: skip
        files = self.folder / "pt"
        files.mkdir()
        for number in range(ITEMS):
            torch.save(torch.from_numpy(self.values[number]), files / f"v{number:06d}.pt")
        self.compare(
            "one .pt file per item / gather", ">= 100",
            lambda: store.read(chosen, out=out),
            lambda: torch.stack([torch.load(files / f"v{n:06d}.pt", weights_only=True) for n in chosen]),
        )  # fmt: skip
        shutil.rmtree(files)

    def write(self) -> None:
        """Compare writing a segment's array with one raw write and fsync."""
        row_bytes = LAYERS * DIM * 2
        layout = ArrayLayout(
            item_count=ITEMS, chunk_items=chunk_item_count(row_bytes, ITEMS), layer_count=LAYERS, dim=DIM,
            stored_dtype="float16", codec="raw",
        )  # fmt: skip

        target, again = self.folder / "chunks", self.folder / "again.bin"

        def clear() -> None:
            # A file system that discards what is deleted would let the next one pay for it.
            shutil.rmtree(target, ignore_errors=True)
            again.unlink(missing_ok=True)
            os.sync()

        def ours() -> None:
            target.mkdir()
            write_array(
                target, layout, range(ITEMS), lambda rows: self.values[rows[0] : rows[-1] + 1]
            )

        def other() -> None:
            with again.open("wb") as file:
                file.write(self.values.data)
                file.flush()
                os.fsync(file.fileno())

        name = "write of an array through zarr-python / raw write + fsync"
        self.compare(name, "<= 1.35", ours, other, clear)
        clear()

    def size(self) -> None:
        """Print the store's bytes over the rows'."""
        newest = self.store / "segments" / open_store(self.store).records[0].segment_id
        files = [path for path in newest.rglob("*") if path.is_file()]
        files += [
            self.store / "store.json",
            self.store / "canary/features.npy",
            *self.store.glob("versions/*"),
        ]
        ratio = sum(path.stat().st_size for path in files) / self.values.nbytes
        print(f"| store size / raw size | | | {ratio:.3f} | <= 1.04 |")

    def check(self) -> None:
        """Compare fsck with hashing the same bytes on one core."""
        self.compare(
            "fsck / np.fromfile and SHA-256",
            "<= 1.0",
            lambda: fsck(self.store),
            lambda: hashlib.sha256(np.fromfile(self.raw, np.float16)).hexdigest(),
        )

    def pull(self) -> None:
        """Compare a pull from a folder with copying, syncing and hashing the same bytes."""
        to, copy = self.folder / "pulled", self.folder / "copied"

        def ours() -> None:
            transfer(FolderLocation(self.store), FolderLocation(to), is_source_first=True)
            shutil.rmtree(to)

        def other() -> None:
            subprocess.run(["cp", "-r", self.store, copy], check=True)
            for path in copy.rglob("*"):
                if path.is_file():
                    with path.open("rb") as file:
                        os.fsync(file.fileno())
                        hashlib.file_digest(file, "sha256")
            shutil.rmtree(copy)

        self.compare("pull from a folder / cp -r, sync, sha256", "<= 1.3", ours, other)

    def append(self) -> None:
        """Compare appending 10 items to the whole store with writing 10 items to an empty one."""
        empty = self.folder / "empty"
        create_store(empty, open_store(self.store).identity, np.zeros((4, LAYERS, DIM), np.float32))
        turn = iter(range(10**6))

        def added(store: Path) -> None:
            journal = Journal.open(store, "daily")
            journal.append(self.rows(range(10), offset=10**5 + 10 * next(turn)))
            journal.publish({})
            journal.close()

        self.compare(
            "append of 10 items to 19,738 / to none",
            "<= 1.2",
            lambda: added(self.store),
            lambda: added(empty),
        )
        compact(self.store, "bench")


if __name__ == "__main__":
    main()
