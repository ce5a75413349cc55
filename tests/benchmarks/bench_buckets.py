"""How many buckets the batches of a training fall into, and how much of them is filled in.

``python tests/benchmarks/bench_buckets.py`` prints a row for each batch size, over the real
sequences of ``microlens100k_halfreal`` (``CROSSAN_TEST_DATA``). Every bucket that comes twice is
recorded once. Nothing here is a test: it is what the ladder of buckets was chosen by.
"""

from __future__ import annotations

import argparse
import os
import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from train_shape import ITEMS, read_training_parts

from crossan.train.objectives.buckets import Bucket, BucketedBatches


def main() -> None:
    """Fill the batches of some epochs up, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("CROSSAN_TEST_DATA", ".")))
    parser.add_argument("--users", type=int, nargs="*", default=[128, 512, 1024])
    parser.add_argument("--epochs", type=int, default=3)
    arguments = parser.parse_args()
    pairs = arguments.data / "microlens100k_halfreal" / "pairs.tsv"
    if not pairs.is_file():
        parser.error(
            f"{pairs}: no such file; name the real data folder: --data FOLDER, or CROSSAN_TEST_DATA"
        )
    sequences = read_training_parts(pairs)
    print("| users | items | predictions | buckets | steps of each | items filled in | predictions filled in | ms to prepare |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|")
    for users in arguments.users:
        print(_row(sequences, users, arguments.epochs))


def _row(sequences: torch.Tensor, users: int, epochs: int) -> str:
    """Return the row of a batch size."""
    batches = BucketedBatches(sequences, users, torch.zeros(ITEMS))
    buckets: Counter[Bucket] = Counter()
    items = predictions = 0
    begun = time.process_time()
    for epoch in range(epochs):
        order = torch.from_numpy(np.random.default_rng([0, epoch]).permutation(len(sequences)))
        for batch in order.split(users):
            ready = batches.filled(batch)
            buckets[ready.bucket] += 1
            items += int(ready.columns.log_multiplicity.isfinite().sum())
            assert ready.columns.counts is not None  # of a batch that was filled up
            predictions += int(ready.columns.counts.sum())
    seconds, steps = time.process_time() - begun, buckets.total()
    columns_filled = sum(bucket.columns * count for bucket, count in buckets.items()) / items - 1
    rows_filled = sum(b.predictions * count for b, count in buckets.items()) / predictions - 1
    each = ", ".join(str(count) for _, count in buckets.most_common())
    return (
        f"| {users:,} | {items / steps:,.0f} | {predictions / steps:,.0f} | {len(buckets)} | {each}"
        f" | {columns_filled:.1%} | {rows_filled:.1%} | {1000 * seconds / steps:.2f} |"
    )


if __name__ == "__main__":
    main()
