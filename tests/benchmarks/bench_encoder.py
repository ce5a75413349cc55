"""The packed sequence encoder against the one that computed padding.

What is measured are a step with ids, a full ranking, and the memory of that.

``python tests/benchmarks/bench_encoder.py`` prints a table; every ratio is of
medians of interleaved repeats in one run. Sequences are those of
``microlens50k`` (``CROSSAN_TEST_DATA``), weights random. ``memory`` starts a
process for each number of users. Nothing here is a test: machines are noisy.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from encoder_baseline import encode_users_padded, loss_padded
from torch import Tensor
from train_shape import INPUT_LENGTH, ITEMS, build, resident_bytes

from crossan.train.evaluation.encoding import target_ranks, target_ranks_in_blocks
from crossan.train.evaluation.ranker import VectorRanker
from crossan.train.evaluation.user_vectors import encode_users
from crossan.train.features import FeatureTable
from crossan.train.models.sequence_model import SequenceModel
from crossan.train.objectives.step import loss_of_batch
from crossan.train.sequences.padding import PADDING
from crossan.train.sequences.popularity import log_popularity, training_counts
from crossan.train.sequences.splits import ValidationSplit, pad_left
from crossan.train.settings import SasrecSettings

MEASURES = ("ids", "ranking", "memory")
Ranking = Callable[[SequenceModel, Tensor, ValidationSplit], Tensor]


def rank_before(model: SequenceModel, item_vectors: Tensor, split: ValidationSplit) -> Tensor:
    """Return the ranks of the targets as before, ``(users,)``.

    Padding is computed, and the user vectors of everybody are held.
    """
    users = encode_users_padded(model, item_vectors, split.inputs)
    return target_ranks(VectorRanker(users, item_vectors), split, "all")


def rank_in_blocks(model: SequenceModel, item_vectors: Tensor, split: ValidationSplit) -> Tensor:
    """Return the same as training's validation computes them, ``(users,)``."""
    return target_ranks_in_blocks(model, item_vectors, split, "all")


WAYS: dict[str, Ranking] = {"ours": rank_in_blocks, "before": rank_before}


def main() -> None:
    """Measure in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("CROSSAN_TEST_DATA", ".")))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=list(MEASURES), choices=MEASURES)
    parser.add_argument("--batches", type=int, nargs="*", default=[128, 512], help="users a step")
    parser.add_argument(
        "--users", type=int, nargs="*", default=[10_000, 50_000, 100_000], help="of the memory"
    )
    parser.add_argument("--measure-memory", choices=list(WAYS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    pairs = arguments.data / "microlens50k" / "MicroLens-50k_pairs.tsv"
    if arguments.measure_memory:
        print(peak_bytes(pairs, arguments.users[0], WAYS[arguments.measure_memory]))
        return
    print(
        f"{torch.get_num_threads()} threads, torch {torch.__version__},"
        f" {arguments.repeats} repeats, load {os.getloadavg()[0]:.1f}\n"
        "| what | ours CPU s | before CPU s | ours / before | goal |\n|---|---|---|---|---|"
    )
    if "ids" in arguments.only:
        for users in arguments.batches:
            compare_steps(read(pairs), users, arguments.repeats)
    if "ranking" in arguments.only:
        compare_rankings(split_of(read(pairs), 50_000), arguments.repeats)
    if "memory" in arguments.only:
        for users in arguments.users:
            compare_memory(users)


def read(pairs: Path) -> list[np.ndarray]:
    """Return each user's items without the test target, oldest first."""
    with pairs.open(encoding="utf-8") as lines:
        return [np.array(line.split()[1:], np.int64)[:-1] - 1 for line in lines]


def make_model() -> SequenceModel:
    """Return SASRec of the default shape, all items trained."""
    torch.manual_seed(0)
    return build(SasrecSettings(width=64, dropout=0.1), FeatureTable.without_content(ITEMS))


def split_of(sequences: list[np.ndarray], users: int) -> ValidationSplit:
    """Return the validation of some users; beyond those that there are, they come again."""
    chosen = [sequences[user % len(sequences)] for user in range(users)]
    histories = [items[:-1] for items in chosen]
    targets = torch.tensor([int(items[-1]) for items in chosen])
    return ValidationSplit(
        pad_left(histories, INPUT_LENGTH), targets, torch.arange(users), histories
    )


def medians(repeats: int, *works: Callable[[], object]) -> list[float]:
    """Do the pieces of work in turn, once to warm up, and return the median CPU seconds of each."""
    times = np.zeros((repeats + 1, len(works)))
    for of_round in times:
        for number, work in enumerate(works):
            begun = time.process_time()
            work()
            of_round[number] = time.process_time() - begun
    return [float(median) for median in np.median(times[1:], axis=0)]


def compare_steps(sequences: list[np.ndarray], users: int, repeats: int) -> None:
    """Compare a step of ids under the in-batch loss."""
    parts = pad_left([items[:-1] for items in sequences], INPUT_LENGTH + 1)
    batch = parts[np.random.default_rng(0).integers(0, len(parts), users)]
    log_p = log_popularity(training_counts(parts[parts != PADDING].numpy(), ITEMS))
    model, features = make_model().train(), FeatureTable.without_content(ITEMS)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def step(loss_of: Callable[[], Tensor]) -> None:
        optimiser.zero_grad()
        loss_of().backward()
        optimiser.step()

    ours, before = medians(
        repeats,
        partial(step, lambda: loss_of_batch(model, features, batch, log_p)),
        partial(step, lambda: loss_padded(model, batch, log_p)),
    )
    share = (batch[:, :-1] == PADDING).double().mean()
    print_line(f"step of ids, B = {users:,}, {share:.0%} of the inputs padding", ours, before, 0.6)


def compare_rankings(split: ValidationSplit, repeats: int) -> None:
    """Compare the encoding of users, alone and with the ranks of their targets."""
    model = make_model().eval()
    item_vectors = model.catalogue_vectors(lambda encoder: torch.empty(0)).detach()
    count = f"{len(split.inputs):,} users"
    ours, before = medians(
        repeats,
        lambda: encode_users(model, item_vectors, split.inputs),
        lambda: encode_users_padded(model, item_vectors, split.inputs),
    )
    print_line(f"encoding of {count}", ours, before, 0.66)
    ours, before = medians(
        repeats, *(partial(way, model, item_vectors, split) for way in WAYS.values())
    )
    print_line(f"ranks of {count} over {ITEMS:,} items, encoded", ours, before, 0.66)


def compare_memory(users: int) -> None:
    """Compare what a validation adds to the peak memory, each way in a process of its own."""
    command = [sys.executable, *sys.argv, "--users", str(users), "--measure-memory"]
    ours, before = (int(subprocess.check_output([*command, way])) / 2**20 for way in WAYS)
    print(f"| MiB of a validation of {users:,} users | {ours:.0f} | {before:.0f} | | <= 100 |")


def peak_bytes(pairs: Path, users: int, rank: Ranking) -> int:
    """Return by how much a validation raises the peak memory."""
    split, model = split_of(read(pairs), users), make_model().eval()
    item_vectors = model.catalogue_vectors(lambda encoder: torch.empty(0)).detach()
    rank(model, item_vectors, split_of(read(pairs)[:64], 64))  # what a first call takes for good
    before = resident_bytes()
    rank(model, item_vectors, split)
    return resident_bytes("VmHWM") - before


def print_line(name: str, ours: float, before: float, goal: float) -> None:
    """Print one line of the table."""
    print(f"| {name} | {ours:.4f} | {before:.4f} | {ours / before:.2f} | <= {goal} |", flush=True)


if __name__ == "__main__":
    main()
