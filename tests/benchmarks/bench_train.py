"""Speed of the training step at the MicroLens-100K shape, against what one would write instead.

``make bench-train`` prints a table; every ratio is of medians of interleaved
repeats in one run, CPU seconds beside wall seconds. The sequences are those of
``microlens100k_halfreal`` (``CROSSAN_TEST_DATA``), the hidden states random.
Nothing here is a test: machines are noisy.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from train_baselines import loop_loss, loss_from_files, read_files, write_files
from train_shape import (
    INPUT_LENGTH,
    ITEMS,
    SHAPE,
    build,
    random_features,
    read_training_parts,
    resident_bytes,
    step_operations,
    write_stores,
)

from crossan.train.features import Demand, HiddenStates, Placement, place_features
from crossan.train.features.prefetch import prepared_ahead
from crossan.train.objectives.columns import batch_columns
from crossan.train.objectives.loss import debiased_cross_entropy, debiased_loss_of_batch
from crossan.train.objectives.step import (
    LossOfBatch,
    loss_by_position,
    loss_of_batch,
    prepare_batch,
)
from crossan.train.sequences.padding import PADDING
from crossan.train.sequences.popularity import log_popularity, training_counts
from crossan.train.settings import CrossanSettings

MEASURES = ("step", "iisan", "loss", "peak", "overhead", "memory", "prefetch", "streamed", "start")
WAYS: dict[str, LossOfBatch] = {"ours": loss_of_batch, "reference": loss_by_position}


def main() -> None:
    """Measure in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("CROSSAN_TEST_DATA", ".")))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--users", type=int, nargs="*", default=[128, 1024], help="batch sizes of the step"
    )
    parser.add_argument(
        "--compute", default="float32", help="of our step; what it is held against stays float32"
    )
    parser.add_argument("--only", nargs="*", default=list(MEASURES), choices=(*MEASURES, "profile"))
    parser.add_argument("--measure-memory", choices=list(WAYS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    pairs = arguments.data / "microlens100k_halfreal" / "pairs.tsv"
    if not pairs.is_file():
        parser.error(
            f"{pairs}: no such file; name the real data folder: --data FOLDER, or CROSSAN_TEST_DATA"
        )
    bench = Bench(pairs, arguments.repeats, SHAPE.model_copy(update={"compute": arguments.compute}))
    if arguments.measure_memory:
        print(bench.peak_bytes(WAYS[arguments.measure_memory]))
        return
    print(
        f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}, {arguments.compute}, {arguments.repeats} repeats, "
        f"OMP_WAIT_POLICY={os.environ.get('OMP_WAIT_POLICY', 'unset')}, load {os.getloadavg()[0]:.1f}"
    )
    print("| ratio | ours s (CPU s) | other s (CPU s) | ratio | goal |\n|---|---|---|---|---|")
    for measure in arguments.only:
        if measure == "step":
            for users in arguments.users:
                bench.step(users)
        else:
            getattr(bench, measure)()


@dataclass(frozen=True, slots=True)
class Seconds:
    """Median time of a piece of work."""

    wall: float
    cpu: float

    def __str__(self) -> str:
        return f"{self.wall:.3f} ({self.cpu:.3f})"


class Bench:
    """Random hidden states of the paper's size, real sequences, a model with its optimiser."""

    def __init__(self, pairs: Path, repeats: int, shape: CrossanSettings) -> None:
        self.repeats = repeats
        self.compute_dtype = torch.bfloat16 if shape.compute == "bfloat16" else torch.float32
        torch.manual_seed(0)
        self.features = random_features()
        self.sequences = read_training_parts(pairs)
        self.counts = training_counts(self.sequences[self.sequences != PADDING].numpy(), ITEMS)
        self.log_popularity = log_popularity(self.counts)
        self.feature_bytes = resident_bytes()
        self.model = build(shape, self.features)
        self.optimiser = torch.optim.AdamW(self.model.parameters(), lr=1e-4, fused=True)

    def batch(self, users: int) -> Tensor:
        """Return the training parts of some users, the same on every call, ``(users, position)``."""
        return self.sequences[np.random.default_rng(0).integers(0, len(self.sequences), users)]

    def train(self, loss_of: LossOfBatch, sequences: Tensor) -> None:
        """Take one whole step."""
        self.optimiser.zero_grad()
        loss_of(self.model, self.features, sequences, self.log_popularity).backward()
        self.optimiser.step()

    def time(self, *works: Callable[[], object]) -> list[Seconds]:
        """Do the pieces of work in turn, several times, the first round to warm up; return the median of each."""
        times = np.zeros((self.repeats + 1, len(works), 2))
        for times_of_round in times:
            for number, work in enumerate(works):
                begun = time.perf_counter(), time.process_time()
                work()
                times_of_round[number] = (
                    time.perf_counter() - begun[0],
                    time.process_time() - begun[1],
                )
        return [Seconds(*map(float, median)) for median in np.median(times[1:], axis=0)]

    def step(self, users: int) -> None:
        """Compare the step with the plain one over every position."""
        sequences = self.batch(users)
        items = sequences[sequences != PADDING]
        ours, other = self.time(
            *(lambda way=way: self.train(way, sequences) for way in WAYS.values())
        )
        print_line(
            f"step, B = {users:,} ({sequences.numel():,} positions, {len(items):,} items, {len(items.unique()):,} unique;"
            f" {users / ours.wall:,.0f} users/s) against `--reference`",
            ours, other, other.wall / ours.wall, ">= 7" if users >= 1024 else ">= 3.5",
        )  # fmt: skip

    def iisan(self) -> None:
        """Compare the step with one that loads a file per item and modality, all 13 layers, and masks in a loop."""
        sequences = self.batch(256)
        with tempfile.TemporaryDirectory() as folder:
            write_files(Path(folder), sequences)

            def other() -> None:
                self.optimiser.zero_grad()
                loss_from_files(self.model, Path(folder), sequences, self.log_popularity).backward()
                self.optimiser.step()

            ours, slow, reading = self.time(
                lambda: self.train(loss_of_batch, sequences),
                other,
                lambda: read_files(Path(folder), sequences),
            )
        name = (
            f"step, B = 256, against a file per item and modality ({reading} of it) and a loop loss"
        )
        print_line(name, ours, slow, slow.wall / ours.wall, ">= 12")

    def loss(self) -> None:
        """Compare the loss alone, forward and backward, with a loop of in-place masks."""
        sequences = self.batch(256)
        columns = batch_columns(sequences)
        users = (torch.randn(256, INPUT_LENGTH, SHAPE.width) / 8).requires_grad_()
        table = (torch.randn(len(columns.items), SHAPE.width) / 8).requires_grad_()

        def ours() -> Tensor:
            predicted = users.flatten(0, 1).index_select(0, columns.packing.places)
            popularity = self.log_popularity[columns.items]
            loss = debiased_cross_entropy(
                predicted,
                table,
                columns.positive,
                columns.user_items,
                popularity,
                columns.log_multiplicity,
            )
            loss.backward()
            return loss.detach()

        def other() -> Tensor:
            placed = table[torch.searchsorted(columns.items, sequences)]
            loss = loop_loss(users, placed, sequences, self.log_popularity)
            loss.backward()
            return loss.detach()

        if not torch.allclose(ours(), other(), rtol=1e-4):
            raise AssertionError("the two losses compared are not the same")
        fast, slow = self.time(ours, other)
        print_line(
            "loss, B = 256, against a loop of in-place masks",
            fast,
            slow,
            slow.wall / fast.wall,
            ">= 100",
        )

    def peak(self) -> None:
        """Compare the step's arithmetic per second at B = 1,024 with that of one large matmul of the adapters' type."""
        sequences, square = self.batch(1024), torch.randn(2048, 2048).to(self.compute_dtype)
        step, matmul = self.time(
            lambda: self.train(loss_of_batch, sequences), lambda: square @ square
        )
        achieved, peak = step_operations(sequences) / step.wall, 2 * 2048**3 / matmul.wall
        name = f"arithmetic at B = 1,024, {achieved / 1e9:,.0f} of {peak / 1e9:,.0f} GFLOP/s of a 2,048 matmul"
        print_line(name, step, matmul, achieved / peak, ">= 0.65")

    def profile(self) -> None:
        """Print where the CPU time of one step goes, the largest operations first."""
        for users in (128, 256, 1024):
            sequences = self.batch(users)
            self.train(loss_of_batch, sequences)
            with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
                self.train(loss_of_batch, sequences)
            print(
                f"B = {users:,}\n{seen.key_averages().table(sort_by='self_cpu_time_total', row_limit=14)}"
            )

    def overhead(self) -> None:
        """Compare what is not encoding, at B = 1,024, with the step."""
        sequences = self.batch(1024)

        def rest() -> None:
            columns = batch_columns(sequences)
            self.features.gather(columns.items)
            vectors = torch.randn(len(columns.items), SHAPE.width).requires_grad_()
            debiased_loss_of_batch(
                columns, vectors, lambda states, packing: states, self.log_popularity
            ).backward()

        part, whole = self.time(rest, lambda: self.train(loss_of_batch, sequences))
        name = "gather + index preparation + loss, B = 1,024, of the step"
        print_line(name, part, whole, part.wall / whole.wall, "<= 0.05")

    def memory(self) -> None:
        """Compare the peak memory above the features of two steps at B = 1,024, each in a process of its own."""
        command = [sys.executable, *sys.argv, "--measure-memory"]
        ours, other = (int(subprocess.check_output([*command, way])) for way in WAYS)
        name = f"peak memory above the features, B = 1,024, {ours / 2**20:,.0f} of {other / 2**20:,.0f} MiB"
        print(f"| {name} | | | {ours / other:.2f} | <= 0.30 |", flush=True)

    def epoch(
        self, features: HiddenStates, batches: Sequence[Tensor], *, is_ahead: bool = True
    ) -> None:
        """Take a step for each batch as the trainer does, the next one prepared meanwhile or not."""
        with contextlib.ExitStack() as stack:
            prepare = partial(prepare_batch, features, log_popularity=self.log_popularity)
            ready = (
                stack.enter_context(prepared_ahead(batches, prepare))
                if is_ahead
                else map(prepare, batches)
            )
            for batch in ready:
                self.optimiser.zero_grad()
                batch(self.model).backward()
                self.optimiser.step()

    def batches(self, users: int, count: int) -> Sequence[Tensor]:
        """Return some batches of an epoch, ``(users, position)`` each."""
        order = torch.from_numpy(np.random.default_rng(0).permutation(len(self.sequences)))
        return [self.sequences[chosen] for chosen in order.split(users)[:count]]

    def prefetch(self) -> None:
        """Compare steps over resident features with the next one prepared meanwhile, and without."""
        batches = self.batches(128, 8)
        ours, other = self.time(
            lambda: self.epoch(self.features, batches),
            lambda: self.epoch(self.features, batches, is_ahead=False),
        )
        print_line(
            "8 steps, B = 128, resident, against no prefetch",
            ours,
            other,
            other.wall / ours.wall,
            ">= 1",
        )

    def streamed(self) -> None:
        """Compare steps that stream three quarters of the features, warm page cache, with resident ones."""
        batches = self.batches(128, 8)
        with tempfile.TemporaryDirectory() as folder:
            stored = write_stores(Path(folder), self.features)
            demand = Demand(rows_at_once=128 * (INPUT_LENGTH + 1), counts=self.counts)
            quarter = sum(hidden.numel() * 2 for hidden in self.features.hidden) // 4  # type: ignore[attr-defined]
            placement = Placement("streamed", quarter + stored.index_bytes)
            streamed = place_features(stored, placement, torch.device("cpu"), demand)
            everything = torch.arange(ITEMS)
            for block in everything.split(1024):  # each chunk is checked once
                streamed.gather(block)
            ours, other = self.time(
                lambda: self.epoch(streamed, batches), lambda: self.epoch(self.features, batches)
            )
        name = f"8 steps, B = 128, streamed with {quarter / 2**20:,.0f} MiB, against resident"
        print_line(name, ours, other, other.wall / ours.wall, ">= 0.85")

    def start(self) -> None:
        """Compare the time from imports done until the first step begins with that of reading the bytes, warm page cache."""
        with tempfile.TemporaryDirectory() as folder:
            write_stores(Path(folder), self.features)
            command = [sys.executable, str(Path(__file__).with_name("train_start.py")), folder]
            found = np.array(
                [subprocess.check_output(command, text=True).split() for _ in range(self.repeats)],
                float,
            )
        ours, other = np.median(found, axis=0)
        print(
            f"| imports done to the beginning of the first step, against np.fromfile | {ours:.3f} | {other:.3f} | {ours / other:.2f} | <= 1.5 |"
        )

    def peak_bytes(self, loss_of: LossOfBatch) -> int:
        """Return the peak memory of two steps above what the features take; weights and optimiser count."""
        for _ in range(2):
            self.train(loss_of, self.batch(1024))
        return resident_bytes("VmHWM") - self.feature_bytes


def print_line(name: str, ours: Seconds, other: Seconds, ratio: float, goal: str) -> None:
    """Print one line of the table."""
    print(f"| {name} | {ours} | {other} | {ratio:.2f} | {goal} |", flush=True)


if __name__ == "__main__":
    main()
