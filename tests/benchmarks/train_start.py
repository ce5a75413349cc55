"""The start of a training, in a process of its own: from opening the stores until the first step begins."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import torch
from train_shape import INPUT_LENGTH, ITEMS, SHAPE, build

from crossan.cache_schema.modality import Modality
from crossan.common.stores import open_store
from crossan.train.features import Demand, Placement, StoredStates, place_features
from crossan.train.objectives.step import prepare_batch


def seconds_to_first_step(folder: Path) -> str:
    """Return the seconds from opening the stores until the first step begins, its batch prepared, and of reading the chunks' bytes."""
    paths = sorted(folder.glob("c/bench/*/*/segments/*/hidden_states/c/*/0/0"))
    torch.optim.AdamW([torch.zeros(1)], fused=True)  # imports for a second what it needs
    begun = time.perf_counter()
    kept = [
        np.fromfile(path, np.uint8) for path in paths
    ]  # kept, as ours are: a buffer used again costs no pages
    read = time.perf_counter() - begun
    del kept
    begun = time.perf_counter()
    stores = {
        modality: open_store(next((folder / "c/bench" / modality.value).iterdir()))
        for modality in Modality
    }
    stored = StoredStates(stores, stores[Modality.TEXT].item_ids)
    demand = Demand(rows_at_once=128 * (INPUT_LENGTH + 1), counts=np.zeros(ITEMS, np.int64))
    features = place_features(stored, Placement("device"), torch.device("cpu"), demand)
    model = build(SHAPE, features)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    optimiser.zero_grad()
    sequences = torch.from_numpy(
        np.random.default_rng(0).integers(0, ITEMS, (128, INPUT_LENGTH + 1))
    )
    prepare_batch(features, sequences, torch.zeros(ITEMS))
    return f"{time.perf_counter() - begun} {read}"


if __name__ == "__main__":
    print(seconds_to_first_step(Path(sys.argv[1])))
