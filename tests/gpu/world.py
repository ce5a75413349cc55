"""Users, items and stores at a shape: random, with lengths and popularity as MicroLens has them."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from shape import Shape
from torch import Tensor

from crossan.cache_schema.identity import StoreIdentity
from crossan.cache_schema.modality import ItemStatus, Modality
from crossan.common.contents.digests import text_digest
from crossan.common.datasets import write_dataset
from crossan.common.stores import ItemRow, Journal, create_store, store_folder
from crossan.train.features import FeatureTable
from crossan.train.models.recommender import ModelContext
from crossan.train.models.sequence_model import SequenceModel
from crossan.train.models.table import build_model
from crossan.train.sequences.popularity import log_popularity, training_counts
from crossan.train.sequences.splits import pad_left
from crossan.train.settings import CrossanSettings, SequenceSettings

__all__ = ["INPUT_LENGTH", "World", "build", "crossan_settings", "make_world", "write_world"]

INPUT_LENGTH = 10
_LEAST, _MEAN_MORE = 5, 2.2
"""Items of a user: MicroLens-100K has 719,405 interactions of 100,000 users with five or more."""
_POPULARITY_SHIFT, _POPULARITY_POWER = 50.0, 0.8
_ITEMS_AT_ONCE = 1024


@dataclass(frozen=True, slots=True)
class World:
    """Sequences and hidden states in memory."""

    histories: list[npt.NDArray[np.int64]]
    """Catalogue rows of each user's items, oldest first."""
    training: Tensor
    """Each user's items without the two held out, padded on the left, ``(users, 11)``."""
    features: FeatureTable
    """On the CPU, float16."""
    log_popularity: Tensor
    """``(items,)``"""

    def features_on(self, device: torch.device) -> FeatureTable:
        """Return the hidden states on a device."""
        hidden = tuple(states.to(device) for states in self.features.hidden)  # type: ignore[attr-defined]
        return FeatureTable(self.features.modalities, hidden, self.features.presence.to(device))


def make_world(shape: Shape) -> World:
    """Draw users and hidden states; the same shape gives the same world."""
    histories = _histories(shape)
    training = [items[:-2] for items in histories]
    generator = torch.Generator().manual_seed(1)
    hidden = tuple(
        torch.randn(shape.items, shape.layers, shape.dim, generator=generator).half()
        for _ in Modality
    )
    presence = torch.ones(shape.items, len(Modality), dtype=torch.bool)
    counts = training_counts(np.concatenate(training), shape.items)
    return World(
        histories,
        pad_left(training, INPUT_LENGTH + 1),
        FeatureTable(tuple(Modality), hidden, presence),
        log_popularity(counts),
    )


def _histories(shape: Shape) -> list[npt.NDArray[np.int64]]:
    random = np.random.default_rng(0)
    lengths = _LEAST + random.poisson(_MEAN_MORE, shape.users)
    lengths = np.minimum(lengths, min(13, shape.items // 2))
    weights = (np.arange(shape.items) + _POPULARITY_SHIFT) ** -_POPULARITY_POWER
    shuffled = random.permutation(shape.items)
    drawn = shuffled[random.choice(shape.items, (shape.users, 26), p=weights / weights.sum())]
    histories = []
    for items, length in zip(drawn, lengths, strict=True):
        first = np.sort(np.unique(items, return_index=True)[1])  # no item twice for one user
        histories.append(items[first][:length].astype(np.int64))
    return [items for items in histories if len(items) >= _LEAST]


def crossan_settings(shape: Shape, **more: object) -> CrossanSettings:
    """Return the settings of the paper's model at a shape, with float32 products by default."""
    given = {"compute": "float32", "bottleneck_dim": shape.bottleneck, **more}
    return CrossanSettings(**{"width": 64, "dropout": 0.1, **given})  # type: ignore[arg-type]


def build(settings: SequenceSettings, world: World, device: torch.device) -> SequenceModel:
    """Return a model over all items with the same random weights on every device."""
    torch.manual_seed(0)
    counts = np.ones(len(world.features.presence), np.int64)
    # No sequence is read to build a sequence model.
    context = ModelContext(world.features, None, counts, INPUT_LENGTH)  # type: ignore[arg-type]
    model = build_model(settings, context)
    assert isinstance(model, SequenceModel)
    return model.to(device)


def write_world(world: World, folder: Path) -> None:
    """Write the dataset ``d`` and, under ``c``, a store of every modality."""
    items = [f"v{number:06d}" for number in range(len(world.features.presence))]
    ids = pa.array(items)
    lengths = [len(history) for history in world.histories]
    nothing = pa.nulls(len(items), pa.string())
    write_dataset(
        folder / "d",
        name="made-up",
        source_format="test",
        licence="none",
        interactions=pa.table(
            {
                "user_id": np.repeat([f"u{user:06d}" for user in range(len(lengths))], lengths),
                "item_id": ids.take(pa.array(np.concatenate(world.histories))),
                "timestamp": np.concatenate([np.arange(length) for length in lengths]),
            }
        ),
        items=pa.table(
            {"item_id": ids, "title": ids, "image": nothing, "video": nothing, "audio": nothing}
        ),
    )
    for modality, hidden in zip(world.features.modalities, world.features.hidden, strict=True):
        _write_store(folder / "c", modality, items, hidden)  # type: ignore[arg-type]


def _write_store(cache: Path, modality: Modality, items: list[str], hidden: Tensor) -> None:
    identity = StoreIdentity(
        modality=modality,
        backbone={"id": "random"},
        inputs={},
        capture={"layers": list(range(hidden.shape[1]))},
        dim=hidden.shape[2],
    )
    store = store_folder(cache, "made-up", identity)
    create_store(store, identity, np.zeros((4, *hidden.shape[1:]), np.float32))
    is_text = modality is Modality.TEXT
    with contextlib.closing(Journal.open(store, "test")) as journal:
        for start in range(0, len(items), _ITEMS_AT_ONCE):
            rows = hidden[start : start + _ITEMS_AT_ONCE].numpy()
            journal.append(
                [
                    # The ids are the titles; of other media the dataset has nothing to compare.
                    ItemRow(item, text_digest(item) if is_text else None, ItemStatus.OK, row=row)
                    for item, row in zip(items[start : start + _ITEMS_AT_ONCE], rows, strict=True)
                ]
            )
        journal.publish({})
