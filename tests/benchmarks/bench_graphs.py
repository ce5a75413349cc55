"""One epoch of the graph models on MicroLens-50K against the same arithmetic in plain torch.

``OMP_NUM_THREADS=1 python tests/benchmarks/bench_graphs.py --out FOLDER`` prints a table of CPU
seconds: real interactions (``CROSSAN_TEST_DATA``), random features of 384 and 100 numbers, and 100
more for MHCR, batches of 2,048. Steps of both sides are taken in turn, and an epoch is all its
steps at the median, what begins it, and the validation that ends it. ``--profile KIND`` says where
the time of ours goes.
Nothing here is a test: machines are noisy.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event

import numpy as np
import torch
from edge_baselines import PlainGrcn, PlainMmgcn
from graph_baselines import PlainBm3, PlainFreedom, PlainVectors, plain_figures
from torch import Tensor, nn
from view_baselines import PlainMgcn, PlainMhcr

from crossan.cache_schema.modality import Modality
from crossan.common.datasets import SelectionSequences, keep_sequences, open_dataset
from crossan.common.history_mask import HistoryMask
from crossan.train.features import FeatureTable
from crossan.train.loop.optimiser import make_optimiser
from crossan.train.loop.validation import validate
from crossan.train.models.recommender import ModelContext
from crossan.train.models.table import build_model
from crossan.train.objectives.triples import Triples
from crossan.train.ranks.ranks import ALONE
from crossan.train.sequences.flat import training_parts
from crossan.train.sequences.popularity import training_counts
from crossan.train.sequences.splits import validation_split
from crossan.train.settings import (
    Bm3Settings,
    FreedomSettings,
    GrcnSettings,
    MgcnSettings,
    MhcrSettings,
    MmgcnSettings,
    ModelSettings,
    OptimiserSettings,
)

BATCH, DIMS = 2048, {Modality.TEXT: 384, Modality.IMAGE: 100}
THREE = {**DIMS, Modality.VIDEO: 100}
"""What MHCR reads: two modalities would leave out pairs of its loss."""
Plain = type[PlainVectors | PlainMgcn | PlainGrcn | PlainMmgcn]
PLAIN: dict[str, tuple[ModelSettings, Plain]] = {
    "mmgcn": (MmgcnSettings(), PlainMmgcn),
    "grcn": (GrcnSettings(), PlainGrcn),
    "bm3": (Bm3Settings(), PlainBm3),
    "freedom": (FreedomSettings(), PlainFreedom),
    "mgcn": (MgcnSettings(), PlainMgcn),
    "mhcr": (MhcrSettings(), PlainMhcr),
}


def main() -> None:
    """Measure each model and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("CROSSAN_TEST_DATA", ".")))
    parser.add_argument("--out", type=Path, required=True, help="where the dataset is imported to")
    parser.add_argument("--steps", type=int, default=8, help="steps that are timed of each side")
    parser.add_argument("--only", nargs="*", default=list(PLAIN), choices=list(PLAIN))
    parser.add_argument("--profile", choices=list(PLAIN))
    parser.add_argument("--memory-of", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    seen = read_interactions(arguments.data, arguments.out)
    if arguments.memory_of:
        kind, side = arguments.memory_of
        epoch = (ours_of if side == "ours" else plain_of)(kind, seen)
        take(epoch, 3)
        epoch.validate()
        print(own_peak_bytes())
    elif arguments.profile:
        profile(ours_of(arguments.profile, seen))
    else:
        show(arguments.only, arguments.steps, seen)


def read_interactions(data: Path, out: Path) -> SelectionSequences:
    """Return the kept sequences of MicroLens-50K, imported once."""
    dataset = out / "microlens50k"
    if not dataset.exists():
        command = [Path(sys.executable).with_name("crossan"), "data", "import"]
        source = [data / "microlens50k", "--format", "microlens", "--out", dataset]
        subprocess.run([*command, *source], check=True)
    kept = keep_sequences(open_dataset(dataset).interactions(), max_items=13, min_items=5)
    return kept.without_test()


class Epoch:
    """The pieces of an epoch, each a call."""

    def __init__(
        self,
        begin: Callable[[], object],
        step: Callable[[Tensor], object],
        validate: Callable[[], object],
        batches: Iterator[Tensor],
        batch_count: int,
    ) -> None:
        self.begin, self.step, self.validate = begin, step, validate
        self.batches, self.batch_count = batches, batch_count


def random_features(kind: str, item_count: int) -> FeatureTable:
    """Return features of the modalities of a model, which all items have."""
    dims = THREE if kind == "mhcr" else DIMS
    generator = torch.Generator().manual_seed(0)
    hidden = tuple(torch.randn(item_count, 1, dim, generator=generator) for dim in dims.values())
    return FeatureTable(tuple(dims), hidden, torch.ones(item_count, len(dims), dtype=torch.bool))


def triples_of(seen: SelectionSequences) -> Triples:
    """Return the triples that both sides learn from."""
    parts = training_parts(seen)
    return Triples(parts, len(seen.item_ids), BATCH, 0, torch.device("cpu"))


def ours_of(kind: str, seen: SelectionSequences) -> Epoch:
    """Return the epoch as the product takes it."""
    torch.manual_seed(0)
    features = random_features(kind, len(seen.item_ids))
    counts = training_counts(seen.training_items, len(seen.item_ids))
    context = ModelContext(features, seen, counts, 10, batch_size=BATCH)
    model = build_model(PLAIN[kind][0], context)
    assert isinstance(model, nn.Module)
    optimiser = make_optimiser(model.parameter_groups(), OptimiserSettings(weight_decay=0.0))
    triples, split = triples_of(seen), validation_split(seen, 10)

    def begin() -> None:
        model.train()
        triples.batches(1)
        model.begin_epoch(1)

    def step(batch: Tensor) -> None:
        optimiser.zero_grad()
        model.loss(*batch.unbind(dim=1)).backward()
        optimiser.step()

    mask: HistoryMask = "all"
    batches = triples.batches(2)
    return Epoch(
        begin,
        step,
        lambda: validate(model, features, (split, counts), mask, ALONE, Event()),
        iter(batches),
        len(batches),
    )


def plain_of(kind: str, seen: SelectionSequences) -> Epoch:
    """Return the epoch as one writes it first."""
    torch.manual_seed(0)
    parts = training_parts(seen)
    pairs = np.unique(parts.users * len(seen.item_ids) + parts.items)
    users, items = (torch.from_numpy(part) for part in divmod(pairs, len(seen.item_ids)))
    features = random_features(kind, len(seen.item_ids))
    states = [hidden[:, 0].clone() for hidden in features.hidden]
    model = PLAIN[kind][1]((users, items), (len(seen.user_ids), len(seen.item_ids)), states)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    triples = triples_of(seen)

    def begin() -> None:
        triples.batches(1)
        model.begin_epoch()

    def step(batch: Tensor) -> None:
        optimiser.zero_grad()
        model.loss(*batch.unbind(dim=1)).backward()
        optimiser.step()

    def figures() -> float:
        with torch.no_grad():
            targets = torch.from_numpy(seen.validation_targets)
            return plain_figures(model.vectors(), torch.stack([users, items]), targets)

    batches = triples.batches(2)
    return Epoch(begin, step, figures, iter(batches), len(batches))


def cpu_seconds(work: Callable[[], object]) -> float:
    """Return the CPU seconds that a piece of work takes."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def take(epoch: Epoch, count: int) -> None:
    """Begin an epoch and take some of its steps."""
    epoch.begin()
    for _ in range(count):
        epoch.step(next(epoch.batches))


def show(kinds: list[str], steps: int, seen: SelectionSequences) -> None:
    """Print a row for each model."""
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads,"
        f" load {os.getloadavg()[0]:.1f}, {len(seen.user_ids):,} users,"
        f" {len(seen.item_ids):,} items"
    )
    print("| model | side | step ms | begin s | validation s | epoch s | ratio | peak GB | ratio |")
    print("|---|---|---|---|---|---|---|---|---|")
    for kind in kinds:
        sides = {"plain": plain_of(kind, seen), "ours": ours_of(kind, seen)}
        times: dict[str, list[float]] = {side: [] for side in sides}
        begins = {side: cpu_seconds(epoch.begin) for side, epoch in sides.items()}
        for _ in range(steps + 2):
            for side, epoch in sides.items():
                batch = next(epoch.batches)
                times[side].append(cpu_seconds(lambda e=epoch, b=batch: e.step(b)))
        ends = {side: cpu_seconds(epoch.validate) for side, epoch in sides.items()}
        step_of = {side: float(np.median(taken[2:])) for side, taken in times.items()}
        total = {
            side: begins[side] + epoch.batch_count * step_of[side] + ends[side]
            for side, epoch in sides.items()
        }
        peaks = {side: peak_bytes(kind, side) for side in sides}
        for side in sides:
            print(
                f"| {kind} | {side} | {step_of[side] * 1e3:.1f} | {begins[side]:.2f}"
                f" | {ends[side]:.2f} | {total[side]:.2f} | {total['plain'] / total[side]:.1f}"
                f" | {peaks[side] / 1e9:.2f} | {peaks[side] / peaks['plain']:.2f} |"
            )


def peak_bytes(kind: str, side: str) -> int:
    """Return the peak memory of a process that takes three steps and validates."""
    command = [sys.executable, *sys.argv, "--memory-of", kind, side]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return int(output.splitlines()[-1])


def own_peak_bytes() -> int:
    """Return the most memory that this process has had; `resource` would tell of its parent too."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def profile(epoch: Epoch) -> None:
    """Print where the time of our steps goes."""
    take(epoch, 2)
    steps = 10
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        for _ in range(steps):
            epoch.step(next(epoch.batches))
    averages = sorted(profiler.key_averages(), key=lambda one: -one.self_cpu_time_total)
    total = sum(one.self_cpu_time_total for one in averages)
    print(f"{total / steps / 1e3:.1f} ms a step")
    for one in averages[:20]:
        print(
            f"{one.key:40} {one.self_cpu_time_total / steps / 1e3:8.2f} ms"
            f" {one.count / steps:6.1f} calls"
        )


if __name__ == "__main__":
    main()
