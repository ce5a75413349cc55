"""Table 4 on one machine: seconds, memory and trainable parameters of its six rows, and their TPME.

    OMP_NUM_THREADS=1 CROSSAN_TEST_DATA=... python tests/benchmarks/bench_table4.py

Each row is that of the recipe catalogue, at its size and with its settings, with random weights. The rows that read
stores take whole batches of ``microlens100k_halfreal`` over random hidden states. Those with backbones inside the step
take a few items in chunks of two sizes, and a batch of the recipe is extrapolated from its distinct items. Seconds are
CPU seconds of one thread. The program ends where a row has another number of parameters than the paper prints.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np
import torch
from base_backbones import write_backbone
from PIL import Image
from torch import Tensor
from train_shape import INPUT_LENGTH, ITEMS, build, random_features, read_training_parts

sys.path.insert(0, str(Path(__file__).parents[1]))

from crossan.cache_schema.modality import Modality
from crossan.common.datasets import Dataset
from crossan.extract.backbones.memory import peak_bytes
from crossan.train.analysis.efficiency import Cost, savings, tpme
from crossan.train.features import ItemInputs
from crossan.train.features.backbone_door import open_backbone
from crossan.train.features.raw_inputs import RawSource, raw_inputs
from crossan.train.loop.optimiser import make_optimiser
from crossan.train.loop.trainable import trainable_parameter_count
from crossan.train.objectives.step import loss_of_batch
from crossan.train.recipes import Recipe, all_recipes
from crossan.train.recipes.writing import default_settings
from crossan.train.sequences.padding import PADDING
from crossan.train.sequences.popularity import log_popularity, training_counts
from crossan.train.sequences.splits import pad_left
from crossan.train.settings import FineTunedSettings, RunSettings
from support.fabricated import write_rows

MIB = 2**20
ITEMS_OF_A_USER = 4
"""Of the few users that rows with backbones are measured on."""
WORDS = 30
"""The fewest of a title there, so that each is cut at the recipe's number of tokens."""
RECIPES = {
    name.removeprefix("table4/"): recipe
    for name, recipe in all_recipes().items()
    if name.startswith("table4/")
}


@dataclass(frozen=True, slots=True)
class Step:
    """What a step took."""

    items: int
    """Distinct items of its batch."""
    seconds: float
    """CPU seconds of forward, loss and backward."""
    update: float
    """CPU seconds of the optimiser."""
    peak: int
    """Bytes at the most of what operations made, gradients among them."""


@dataclass(frozen=True, slots=True)
class Line:
    """What a row of the table costs."""

    recipe: Recipe
    batch_size: int
    items: float
    """Distinct items of a batch, on average over an epoch."""
    seconds: float
    """CPU seconds of a step over as many."""
    resident: int
    """Bytes of weights and moments."""
    peak: float
    """As that of `Step`."""
    cost: Cost


class Row:
    """The model of a recipe with its optimiser."""

    def __init__(self, recipe: Recipe, settings: RunSettings, inputs: ItemInputs) -> None:
        torch.manual_seed(0)
        self.model, self.inputs = build(settings.model, inputs).train(), inputs
        self.parameters = trainable_parameter_count(self.model)
        if self.parameters != recipe.figures["parameters"]:
            raise AssertionError(
                f"{recipe.name}: expected {recipe.figures['parameters']:,} trainable parameters,"
                f" got {self.parameters:,}"
            )
        self.optimiser = make_optimiser(self.model.parameter_groups(), settings.optimiser)
        self.resident = 2 * 4 * self.parameters + sum(
            each.nbytes for each in chain(self.model.parameters(), self.model.buffers())
        )

    def take(self, sequences: Tensor, log_p: Tensor) -> tuple[float, float]:
        """Take a step; return the CPU seconds up to the gradients, and those of the optimiser."""
        begun = time.process_time()
        self.optimiser.zero_grad()
        loss_of_batch(self.model, self.inputs, sequences, log_p).backward()
        computed = time.process_time()
        self.optimiser.step()
        return computed - begun, time.process_time() - computed

    def measure(self, sequences: Tensor, log_p: Tensor, repeats: int) -> Step:
        """Return the median of some steps, after half a batch, which makes the moments."""
        self.take(sequences[: -(-len(sequences) // 2)], log_p)
        peak = peak_bytes(lambda: self.take(sequences, log_p), torch.device("cpu"))
        times = [self.take(sequences, log_p) for _ in range(repeats)]
        seconds, update = np.median(times, axis=0)
        return Step(distinct(sequences), float(seconds), float(update), peak)


class Bench:
    """The sequences, and the inputs that rows take their steps over."""

    def __init__(self, data: Path, folder: Path, repeats: int, chunks: Sequence[int]) -> None:
        self.data, self.folder, self.repeats, self.chunks = data, folder, repeats, chunks
        sequences = read_training_parts(data / "pairs.tsv")
        self.sequences = sequences[np.random.default_rng(0).permutation(len(sequences))]
        counts = training_counts(sequences[sequences != PADDING].numpy(), ITEMS)
        self.log_popularity = log_popularity(counts)
        self.features: ItemInputs | None = None
        self.ids = [f"v{number:02d}" for number in range(2 * max(chunks))]
        self.few = write_items(folder / "few", self.ids, data / "titles.csv")

    def line(self, recipe: Recipe) -> Line:
        """Measure a row."""
        settings = default_settings(recipe)
        batches = self.sequences.split(settings.batch_size)
        items = sum(map(distinct, batches)) / len(batches)
        if isinstance(settings.model, FineTunedSettings):
            row, step, peak = self.tuned(recipe, settings, settings.model)
        else:
            self.features = self.features or random_features()
            row = Row(recipe, settings, self.features)
            step = row.measure(batches[0], self.log_popularity, self.repeats)
            peak = float(step.peak)
            print_step(recipe, step)
        seconds = step.seconds / step.items * items + step.update
        cost = Cost(seconds * len(batches), row.parameters, row.resident + peak)
        return Line(recipe, settings.batch_size, items, seconds, row.resident, peak, cost)

    def tuned(
        self, recipe: Recipe, settings: RunSettings, model: FineTunedSettings
    ) -> tuple[Row, Step, float]:
        """Measure a row with backbones inside the step, by two chunks of either size.

        Returns
        -------
        tuple
            The row, its step over the larger chunks, and the peak of a step in chunks of its own size.
        """
        inputs = self.raw_inputs(model.max_length)
        steps = []
        for chunk in self.chunks:
            smaller = model.model_copy(update={"chunk_size": chunk})
            row = Row(recipe, settings.model_copy(update={"model": smaller}), inputs)
            users = torch.arange(2 * chunk).view(-1, ITEMS_OF_A_USER)
            sequences = pad_left(users.numpy(), INPUT_LENGTH + 1)
            steps.append(row.measure(sequences, torch.full((2 * chunk,), -7.0), 1))
            print_step(recipe, steps[-1])
        less, more = self.chunks
        of_an_item = (steps[1].peak - steps[0].peak) / (more - less)
        return row, steps[1], steps[1].peak + of_an_item * (model.chunk_size - more)

    def raw_inputs(self, max_length: int | None) -> ItemInputs:
        """Return the inputs of the few items, with backbones of base size that have random weights."""
        sources = {}
        for modality in (Modality.TEXT, Modality.IMAGE):
            checkpoint = write_backbone(modality, "base", self.folder)
            backbone = open_backbone(modality, str(checkpoint), max_length)
            kept = backbone.keep_inputs(self.few, self.folder / "c", self.ids)
            sources[modality] = RawSource(backbone, *kept)
        return raw_inputs(sources, self.ids, torch.device("cpu"))


def write_items(folder: Path, ids: Sequence[str], titles: Path) -> Dataset:
    """Write a dataset of some items that have long titles and random pictures."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for item in ids:
        pixels = random.integers(0, 256, (224, 224, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{item}.png")
    with titles.open(encoding="utf-8", newline="") as lines:
        every = (row["title"] for row in csv.DictReader(lines))
        long = (title for title in every if len(title.split()) >= WORDS)
        chosen = dict(zip(ids, long, strict=False))
    media = {"image": {item: f"{item}.png" for item in ids}}
    rows = [("u", item, position) for position, item in enumerate(ids)]
    return write_rows(folder, rows, items=ids, titles=chosen, media=media)


def distinct(sequences: Tensor) -> int:
    """Count the items of a batch."""
    return len(sequences[sequences != PADDING].unique())


def print_step(recipe: Recipe, step: Step) -> None:
    """Print what was measured, with the load it was measured at."""
    print(
        f"{recipe.name}: {step.items} items, {step.seconds:.2f} s, {step.seconds / step.items:.4f} s an item,"
        f" optimiser {step.update:.3f} s, peak {step.peak / MIB:,.1f} MiB, load {os.getloadavg()[0]:.1f}",
        flush=True,
    )


def print_table(lines: Sequence[Line]) -> None:
    """Print the costs of all rows, and what they save of the first one's, beside the paper's."""
    paper = [
        Cost(*(line.recipe.figures[name] for name in ("seconds", "parameters", "gpu_mb")))
        for line in lines
    ]
    print("\n| row | batch | distinct items | s a step | weights and moments, MiB | step, MiB |")
    print("|---|---|---|---|---|---|")
    for line in lines:
        print(
            f"| {line.recipe.row} | {line.batch_size} | {line.items:,.1f} | {line.seconds:,.2f}"
            f" | {line.resident / MIB:,.0f} | {line.peak / MIB:,.0f} |"
        )
    print("\n| row | s an epoch | MiB | parameters | TPME | paper: s | MB | TPME |")
    print("|---|---|---|---|---|---|---|---|")
    costs = [line.cost for line in lines]
    for line, theirs, ours, printed in zip(lines, paper, tpme(costs), tpme(paper), strict=True):
        print(
            f"| {line.recipe.row} | {line.cost.seconds_per_epoch:,.0f}"
            f" | {line.cost.peak_memory_bytes / MIB:,.0f} | {line.cost.trainable_parameters:,.0f} | {ours:.1%}"
            f" | {theirs.seconds_per_epoch:,.0f} | {theirs.peak_memory_bytes:,.0f} | {printed:.1%} |"
        )
    print("\n| saved of the first row's | time | parameters | memory | paper: time | memory |")
    print("|---|---|---|---|---|---|")
    for line, theirs in islice(zip(lines, paper, strict=True), 1, None):
        ours, printed = savings(line.cost, costs[0]), savings(theirs, paper[0])
        print(
            f"| {line.recipe.row} | {ours.seconds_per_epoch:.2%} | {ours.trainable_parameters:.2%}"
            f" | {ours.peak_memory_bytes:.2%} | {printed.seconds_per_epoch:.2%} | {printed.peak_memory_bytes:.2%} |"
        )


def main() -> None:
    """Measure the rows in turn and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("CROSSAN_TEST_DATA", ".")))
    parser.add_argument("--folder", type=Path, help="where 0.8 GB of checkpoints lie meanwhile")
    parser.add_argument(
        "--repeats",
        type=int,
        default=3,
        help="of rows that read stores; others take each step once",
    )
    parser.add_argument(
        "--chunks", type=int, nargs=2, default=(4, 8), help="two even sizes, the smaller first"
    )
    parser.add_argument("--only", nargs="*", default=list(RECIPES), choices=list(RECIPES))
    arguments = parser.parse_args()
    real = arguments.data / "microlens100k_halfreal"
    if not real.is_dir():
        parser.error(
            f"{real}: no such folder; name the real data folder: --data FOLDER, or CROSSAN_TEST_DATA"
        )
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(
        f"{os.cpu_count()} cores, one thread, torch {torch.__version__}, {arguments.repeats} repeats,"
        f" OMP_WAIT_POLICY={os.environ.get('OMP_WAIT_POLICY', 'unset')}"
    )
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        bench = Bench(real, Path(folder), arguments.repeats, arguments.chunks)
        print_table([bench.line(RECIPES[name]) for name in arguments.only])


if __name__ == "__main__":
    main()
