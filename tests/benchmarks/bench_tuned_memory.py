"""Memory of a step of ``--model fine-tuned`` over batch sizes, in chunks and in one pass.

    python tests/benchmarks/bench_tuned_memory.py

Tensors that operations make and nobody has released yet are counted, gradients of weights among them from the second
step on. Backbones are two layers of BERT and ViT, 64 and 384 wide, over titles of up to 8 tokens and pictures of 16
pixels.
"""

from __future__ import annotations

import sys
from itertools import product
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from crossan.cache_schema.modality import Modality
from crossan.extract.backbones.memory import peak_bytes
from crossan.train.features.interface import Fetched
from crossan.train.models.fine_tuned import assemble
from crossan.train.objectives.step import loss_of_batch
from crossan.train.settings import FineTunedSettings
from support.tuned import tiny, tiny_arrays

ITEMS, LENGTH = 2_000, 10
MODALITIES = (Modality.TEXT, Modality.IMAGE)


class Some:
    """Rows of one modality, read when they are needed."""

    def __init__(self, items, rows):
        self._items, self._rows = items, rows.tolist()

    def read(self, positions):
        return [self._items[self._rows[position]] for position in positions]


class Inputs:
    """A catalogue in memory, whose arrays no operation of torch has made."""

    modalities = MODALITIES

    def __init__(self):
        generator = torch.Generator().manual_seed(0)
        self._arrays = [tiny_arrays(each, ITEMS, generator).items for each in MODALITIES]
        self.presence = torch.ones(ITEMS, 2, dtype=torch.bool)

    def gather(self, rows):
        return [Some(items, rows) for items in self._arrays], self.presence[rows]

    def fetch(self, rows):
        return Fetched(rows, lambda: self.gather(rows))


def peak(inputs, users, chunk_size, width):
    torch.manual_seed(0)
    settings = FineTunedSettings(tuning="adapter", bottleneck_dim=16, chunk_size=chunk_size)
    model = assemble(settings, [tiny(each, width=width) for each in MODALITIES], LENGTH).train()
    sequences = torch.randint(ITEMS, (users, LENGTH + 1))
    log_popularity = torch.full((ITEMS,), -7.0)

    def step():
        loss_of_batch(model, inputs, sequences, log_popularity).backward()

    step()
    return len(sequences.unique()), peak_bytes(step, torch.device("cpu"))


def main():
    inputs = Inputs()
    print("width  users  items  chunks of 32, MiB  one pass, MiB")
    for width, users in product((64, 384), (8, 16, 32, 64)):
        items, chunked = peak(inputs, users, 32, width)
        _, whole = peak(inputs, users, ITEMS, width)
        chunked, whole = chunked / 2**20, whole / 2**20
        print(f"{width:5d}  {users:5d}  {items:5d}  {chunked:17.1f}  {whole:13.1f}", flush=True)


if __name__ == "__main__":
    main()
