"""A backbone whose hidden states one can compute by hand, and datasets of titles and pictures."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from crossan.cache_schema.identity import StoreIdentity
from crossan.cache_schema.modality import Modality
from crossan.extract.backbones.launched import Launched


class CountingEncoder:
    """Hidden state ``k`` is ``(k + 1) * (size, size + 1)``: size = letters of a title, mean of a picture."""

    layers = (0, 2, 4)
    dim = 2
    sampling_rate = 16_000
    frame_count = 4
    device = "cpu"

    def __init__(self, modality=Modality.TEXT, *, scale=1.0, revision="r1"):
        self.modality, self._scale, self._revision = modality, scale, revision
        self.batches = []
        self.on_encode = lambda: None

    def identity(self, stored_dtype, codec, *, is_clipped=False):
        return StoreIdentity(
            modality=self.modality,
            backbone={"id": "counting", "revision": self._revision},
            inputs={"clips": True} if is_clipped else {},
            capture={"layers": list(self.layers), "compute_dtype": "float32"},
            stored_dtype=stored_dtype,
            codec=codec,
            dim=self.dim,
        )

    def provenance(self):
        return {"made_by": "a test"}

    def text_length(self, title):
        return len(title.split())

    def prepare(self, medium):
        if isinstance(medium, str) and medium == "refuse me":
            raise ValueError("cannot use this")
        size = (
            len(medium)
            if isinstance(medium, str)
            else float(np.asarray(medium, dtype=np.float64).mean())
        )
        return {"size": np.array([size], dtype=np.float32)}

    def preparer(self):
        return self.prepare

    def begin(self, batch):
        states = self.encode(batch)
        return Launched(lambda: states, lambda: 0.0)

    def encode(self, batch):
        self.on_encode()
        self.batches.append(len(batch))
        sizes = np.array([inputs["size"][0] for inputs in batch], dtype=np.float32)
        rows = (
            np.stack([sizes, sizes + 1], axis=1)[:, None, :]
            * np.array([1, 3, 5], dtype=np.float32)[None, :, None]
        )
        return (rows * np.float32(self._scale)).astype(np.float32)


@pytest.fixture
def counting_encoder():
    return CountingEncoder


@pytest.fixture
def make_dataset():
    """Return a function that writes a dataset folder of the given items over whatever is there."""
    from crossan.common.datasets import write_dataset

    def make(folder, items):
        columns = ("title", "image", "video", "audio")
        table = pa.table(
            {"item_id": pa.array([item["item_id"] for item in items], pa.string())}
            | {name: pa.array([item.get(name) for item in items], pa.string()) for name in columns}
        )
        interactions = pa.table(
            {
                "user_id": pa.array(["u1"] * len(items), pa.string()),
                "item_id": table.column("item_id"),
                "timestamp": pa.array([None] * len(items), pa.int64()),
            }
        )
        write_dataset(
            folder,
            name="toy",
            source_format="table",
            licence="made here",
            interactions=interactions,
            items=table,
        )
        return folder

    return make
