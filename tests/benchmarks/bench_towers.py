"""Speed of the towers against plain modules, and of IISAN's step against its own arithmetic.

``OMP_NUM_THREADS=1 python tests/benchmarks/bench_towers.py`` prints a table; every
ratio is of medians of interleaved repeats in one run, in CPU seconds of the
thread. Hidden states and weights are random; the users of the step are those of
``microlens100k_halfreal`` (``CROSSAN_TEST_DATA``). Nothing here is a test:
machines are noisy.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from train_baselines import loss_as_iisan
from train_shape import DIM, LAYERS, build, random_features, read_training_parts

from crossan.cache_schema.modality import Modality
from crossan.train.features import FeatureTable
from crossan.train.layers.tower import SideAdapterTowers
from crossan.train.objectives.step import loss_of_batch
from crossan.train.sequences.padding import PADDING
from crossan.train.sequences.popularity import log_popularity, training_counts
from crossan.train.settings import IisanSettings

MEASURES = ("towers", "iisan", "profile")
USERS, BOTTLENECK = 64, 64
"""IISAN's defaults."""


def main() -> None:
    """Measure in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("CROSSAN_TEST_DATA", ".")))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--widths", type=int, nargs="*", default=[64, 256, 512], help="of adapters")
    parser.add_argument("--items", type=int, default=578, help="578 are those of 128 users")
    parser.add_argument("--layers", type=int, default=LAYERS)
    parser.add_argument("--compute", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--only", nargs="*", default=["towers", "iisan"], choices=MEASURES)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    load = os.getloadavg()[0]
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, load {load:.1f}")
    print("| what | ours CPU s | other CPU s | ratio |\n|---|---|---|---|")
    if "towers" in arguments.only:
        compute = torch.bfloat16 if arguments.compute == "bfloat16" else None
        for width in arguments.widths:
            measure_towers(arguments.items, arguments.layers, width, compute, arguments.repeats)
    if "iisan" in arguments.only or "profile" in arguments.only:
        pairs = arguments.data / "microlens100k_halfreal" / "pairs.tsv"
        if not pairs.is_file():
            parser.error(f"{pairs}: no such file; name the real data folder: --data FOLDER")
        measure_iisan(pairs, arguments.compute, arguments.repeats, "profile" in arguments.only)


def medians(repeats: int, *works: Callable[[], object]) -> list[float]:
    """Return the median CPU seconds of pieces of work, done in turn.

    The first round warms up and does not count.
    """
    times = np.zeros((repeats + 1, len(works)))
    for times_of_round in times:
        for number, work in enumerate(works):
            begun = time.thread_time()
            work()
            times_of_round[number] = time.thread_time() - begun
    return [float(seconds) for seconds in np.median(times[1:], axis=0)]


def measure_towers(
    items: int, layers: int, bottleneck: int, compute: torch.dtype | None, repeats: int
) -> None:
    """Compare the towers, backward included, with plain modules over the same items."""
    count = len(Modality)
    towers = SideAdapterTowers([DIM] * count, layers, bottleneck, 64, compute)
    hidden = [torch.randn(items, layers, DIM).half() for _ in range(count)]
    presence = torch.ones(items, count, dtype=torch.bool)

    def climb(way: Callable[[list[Tensor], Tensor], Tensor]) -> None:
        towers.zero_grad()
        way(hidden, presence).sum().backward()

    ours, plain = medians(repeats, lambda: climb(towers), lambda: climb(towers.plain))
    adapters = items * count * layers * 2 * DIM * bottleneck
    heads = count * DIM * 64 * (items + DIM)
    rates = [3 * 2 * (adapters + heads) / seconds / 1e9 for seconds in (ours, plain)]
    print(
        f"| towers, adapter {bottleneck}, {items:,} items x {count} x {layers} layers"
        f" ({rates[0]:.0f} against {rates[1]:.0f} GFLOP/s)"
        f" | {ours:.3f} | {plain:.3f} | {plain / ours:.2f} |",
        flush=True,
    )


def measure_iisan(pairs: Path, compute: str, repeats: int, is_profiled: bool) -> None:
    """Compare a step at IISAN's defaults with its arithmetic, both from hidden states in RAM."""
    everything = random_features()
    features = FeatureTable(
        everything.modalities[:2], everything.hidden[:2], everything.presence[:, :2]
    )
    sequences = read_training_parts(pairs)
    counts = training_counts(sequences[sequences != PADDING].numpy(), len(features.presence))
    log_p = log_popularity(counts)
    batch = sequences[np.random.default_rng(0).integers(0, len(sequences), USERS)]
    settings = IisanSettings.model_validate({"bottleneck_dim": BOTTLENECK, "compute": compute})
    model = build(settings, features)
    fused, plain = (
        torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True),
        torch.optim.Adam(model.parameters(), lr=1e-4),
    )

    def step(loss_of: Callable[..., Tensor], optimiser: torch.optim.Optimizer) -> None:
        optimiser.zero_grad()
        loss_of(model, features, batch, log_p).backward()
        optimiser.step()

    model.eval()
    both = [way(model, features, batch, log_p) for way in (loss_of_batch, loss_as_iisan)]
    if not torch.allclose(*both, rtol=1e-4 if compute == "float32" else 2e-2):
        raise AssertionError(f"the two losses compared are not the same: {both}")
    model.train()
    if is_profiled:
        for way, optimiser in ((loss_of_batch, fused), (loss_as_iisan, plain)):
            with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
                step(way, optimiser)
            print(seen.key_averages().table(sort_by="self_cpu_time_total", row_limit=16))
        return
    ours, other = medians(
        repeats, lambda: step(loss_of_batch, fused), lambda: step(loss_as_iisan, plain)
    )
    unique = len(batch[batch != PADDING].unique())
    print(
        f"| step of IISAN, B = {USERS}, adapter {BOTTLENECK} ({batch.numel()} positions, {unique}"
        f" unique items), hidden states in RAM, against IISAN's arithmetic"
        f" | {ours:.3f} | {other:.3f} | {other / ours:.2f} |"
    )


if __name__ == "__main__":
    main()
