"""The shape that training is measured at: MicroLens-100K's items and sequences, hidden states of the paper's size."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from crossan.cache_schema.identity import StoreIdentity
from crossan.cache_schema.modality import ItemStatus, Modality
from crossan.common.stores import ItemRow, Journal, create_store, open_store, store_folder
from crossan.train.features import FeatureTable, ItemInputs, StoredStates
from crossan.train.models.recommender import ModelContext
from crossan.train.models.sequence_model import SequenceModel
from crossan.train.models.table import build_model
from crossan.train.objectives.columns import batch_columns
from crossan.train.sequences.padding import PADDING
from crossan.train.sequences.splits import pad_left
from crossan.train.settings import CrossanSettings, SequenceSettings

__all__ = [
    "DIM",
    "INPUT_LENGTH",
    "ITEMS",
    "LAYERS",
    "SHAPE",
    "build",
    "random_features",
    "read_training_parts",
    "resident_bytes",
    "step_operations",
    "write_stores",
]

ITEMS, LAYERS, DIM, INPUT_LENGTH = 19_738, 7, 768, 10
SHAPE = CrossanSettings(width=64, dropout=0.1, bottleneck_dim=512)
"""The paper's, which is not our default."""


def build(settings: SequenceSettings, inputs: ItemInputs) -> SequenceModel:
    """Return a sequence model over all items, each of which counts as trained, with random weights."""
    # No sequence is read to build a sequence model.
    context = ModelContext(inputs, None, np.ones(ITEMS, np.int64), INPUT_LENGTH)  # type: ignore[arg-type]
    model = build_model(settings, context)
    assert isinstance(model, SequenceModel)
    return model


def random_features() -> FeatureTable:
    """Return random hidden states of all items in four modalities, none of them absent."""
    hidden = tuple(torch.empty(ITEMS, LAYERS, DIM, dtype=torch.float16).normal_() for _ in Modality)
    presence = torch.ones(ITEMS, len(Modality), dtype=torch.bool)
    return FeatureTable(tuple(Modality), hidden, presence)


def read_training_parts(pairs: Path) -> Tensor:
    """Return each user's last 13 items without the two held out, ``(users, 11)`` rows padded on the left."""
    with pairs.open(encoding="utf-8") as lines:
        sequences = [np.array(line.split()[1:], np.int64) - 1 for line in lines]
    return pad_left([items[:-2] for items in sequences if len(items) >= 5], INPUT_LENGTH + 1)


def step_operations(sequences: Tensor) -> int:
    """Count the multiplications and additions in the matmuls of a step, backward included (twice the forward)."""
    unique, users = len(sequences[sequences != PADDING].unique()), len(sequences)
    width, predictions = SHAPE.width, len(batch_columns(sequences).positive)
    adapters = 2 * unique * len(Modality) * LAYERS * 2 * DIM * SHAPE.bottleneck_dim
    heads = 2 * len(Modality) * DIM * width * (unique + DIM)
    encoder = 2 * users * INPUT_LENGTH * SHAPE.blocks * 12 * width**2
    return 3 * (adapters + heads + encoder + 2 * predictions * unique * width)


def write_stores(folder: Path, features: FeatureTable) -> StoredStates:
    """Write a store per modality with the features' hidden states, under ``c/bench``."""
    items = [f"v{number:05d}" for number in range(ITEMS)]
    stores = {}
    for modality, hidden in zip(features.modalities, features.hidden, strict=True):
        identity = StoreIdentity(
            modality=modality,
            backbone={"id": "bench"},
            inputs={},
            capture={"layers": list(range(LAYERS))},
            dim=DIM,
        )
        store = store_folder(folder / "c", "bench", identity)
        create_store(store, identity, np.zeros((4, LAYERS, DIM), np.float32))
        with contextlib.closing(Journal.open(store, "bench")) as journal:
            for start in range(0, ITEMS, 1024):
                rows = hidden.index_select(0, torch.arange(start, min(start + 1024, ITEMS))).numpy()
                journal.append(
                    [
                        ItemRow(item, None, ItemStatus.OK, row=row)
                        for item, row in zip(items[start : start + 1024], rows, strict=True)
                    ]
                )
            journal.publish({})
        stores[modality] = open_store(store)
    return StoredStates(stores, items)


def resident_bytes(which: str = "VmRSS") -> int:
    """Return this process's memory now, or at its peak (``VmHWM``)."""
    found = re.search(
        rf"{which}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8")
    )
    if found is None:
        raise RuntimeError(f"expected {which} in /proc/self/status: this measure needs Linux")
    return int(found[1]) * 1024
