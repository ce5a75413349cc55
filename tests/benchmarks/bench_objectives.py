"""Cost of the objectives beside the paper's: time of a step, and what is remembered between steps.

``python tests/benchmarks/bench_objectives.py`` prints a table; every ratio is
of medians of interleaved repeats in one run. Sequences are those of
``microlens100k_halfreal`` (``CROSSAN_TEST_DATA``), text states at the paper's
size are random. Nothing here is a test: machines are noisy.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from train_shape import DIM, ITEMS, LAYERS, SHAPE, build, read_training_parts

from crossan.cache_schema.modality import Modality
from crossan.train.features import FeatureTable
from crossan.train.objectives import Objective, ObjectiveContext, make_objective
from crossan.train.sequences.padding import PADDING
from crossan.train.sequences.popularity import log_popularity, training_counts
from crossan.train.sequences.splits import TrainSplit
from crossan.train.settings import (
    DataSettings,
    ObjectiveSettings,
    RunSettings,
    SasrecSettings,
    SequenceSettings,
)

MODELS: dict[str, SequenceSettings] = {
    "text": SHAPE.model_copy(update={"top_k": 1}),
    "text and ids": SHAPE.model_copy(update={"top_k": 1, "id_embedding": True}),
    "ids alone": SasrecSettings(width=64, dropout=0.1),
}
_WARM_UP = 8
"""Steps before the first that is timed: the memory is full then."""
KINDS = ("in-batch", "catalogue", "cross-batch")


def main() -> None:
    """Measure each model in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("CROSSAN_TEST_DATA", ".")))
    parser.add_argument("--users", type=int, default=128, help="batch size")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=list(MODELS), choices=MODELS)
    arguments = parser.parse_args()
    sequences = read_training_parts(arguments.data / "microlens100k_halfreal" / "pairs.tsv")
    sequences = sequences[np.random.default_rng(0).permutation(len(sequences))]
    first = sequences[: arguments.users]
    hidden = torch.empty(ITEMS, LAYERS, DIM, dtype=torch.float16).normal_()
    text = FeatureTable((Modality.TEXT,), (hidden,), torch.ones(ITEMS, 1, dtype=torch.bool))
    print(
        f"B = {arguments.users}, {len(first[first != PADDING].unique()):,} unique items in the first batch, {torch.get_num_threads()} threads,"
        f" torch {torch.__version__}, {arguments.repeats} repeats, load {os.getloadavg()[0]:.1f}"
    )
    print(
        "| model | objective | s a step (CPU s) | ratio (of CPU s) | remembered MB |\n|---|---|---|---|---|"
    )
    for name in arguments.only:
        reads = MODELS[name].reads_hidden_states
        features = text if reads else FeatureTable.without_content(ITEMS)
        compare(name, features, TrainSplit(sequences), arguments.users, arguments.repeats)


def objectives_of(settings: SequenceSettings, train: TrainSplit) -> dict[str, Objective]:
    """Return an objective of every kind, for a run of a model."""
    rows = train.sequences[train.sequences != PADDING]
    log_p = log_popularity(training_counts(rows.numpy(), ITEMS))
    data = DataSettings(dataset="D")
    return {
        kind: make_objective(
            ObjectiveContext(
                RunSettings(data=data, model=settings, objective=ObjectiveSettings(kind=kind)),
                train,
                log_p,
            )
        )
        for kind in KINDS
    }


def compare(name: str, features: FeatureTable, train: TrainSplit, users: int, repeats: int) -> None:
    """Take steps of every objective in turn and print their rows; an encoding of the whole catalogue has its own."""
    torch.manual_seed(0)
    model = build(MODELS[name], features)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    objectives = objectives_of(MODELS[name], train)

    def step(objective: Objective, number: int) -> None:
        optimiser.zero_grad()
        batch = torch.arange(number * users, (number + 1) * users)
        objective.prepare(features, batch)(model).backward()
        optimiser.step()

    _, first = timed(partial(step, objectives["catalogue"], 0))
    for number in range(_WARM_UP):
        for objective in objectives.values():
            step(objective, number)
    times = np.empty((repeats, len(KINDS), 2))  # wall and CPU
    for number in range(repeats):
        for place, objective in enumerate(objectives.values()):
            times[number, place] = timed(partial(step, objective, _WARM_UP + number))
    medians = np.median(times, axis=0)
    for (kind, objective), (wall, cpu) in zip(objectives.items(), medians, strict=True):
        megabytes = sum(tensor.nbytes for tensor in objective.state().values()) / 1e6
        ratios = f"{wall / medians[0, 0]:.2f} ({cpu / medians[0, 1]:.2f})"
        print(f"| {name} | {kind} | {wall:.3f} ({cpu:.3f}) | {ratios} | {megabytes:.1f} |")
    if features.modalities:
        print(
            f"| {name} | catalogue, the step that encodes it whole | CPU {first:.1f} | CPU {first / medians[0, 1]:.1f} | |"
        )


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return wall and CPU seconds of a piece of work."""
    begun = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - begun[0], time.process_time() - begun[1]


if __name__ == "__main__":
    main()
