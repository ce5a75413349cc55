"""Small worlds for the models that have a view of every modality: golden ones, and drawn ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from hypothesis import strategies as st

from crossan.cache_schema.modality import Modality
from crossan.train.features import FeatureTable
from crossan.train.models.recommender import ModelContext
from crossan.train.models.table import build_model
from support.beside_data import folder_beside_data
from support.mgcn_twin import Graph

TOLERANCE = 5e-6
MODALITIES = (Modality.IMAGE, Modality.TEXT, Modality.VIDEO)
"""In the order of the published code."""


class Golden:
    """The arrays of a golden file by name."""

    def __init__(self, model, modalities):
        self.modalities = modalities
        self.arrays = np.load(folder_beside_data("golden", model) / "golden.npz")

    def __call__(self, name):
        return torch.from_numpy(np.asarray(self.arrays[name]))

    @property
    def graph(self):
        """Return the pairs and features of the world."""
        features = {one.value: self(f"feature/{one.value}") for one in self.modalities}
        return Graph(6, 8, self("data/train_pairs"), features)

    @property
    def batch(self):
        """Return users, their items and other items."""
        return tuple(self(f"batch/{name}") for name in ("users", "pos", "neg"))

    def weights(self, names):
        """Return weights in float64 with a gradient; tables of features are as the features."""
        return {
            ours: self._weight(theirs).double().requires_grad_() for ours, theirs in names.items()
        }

    def _weight(self, name):
        if f"weight/{name}" in self.arrays:
            return self(f"weight/{name}")
        return self(f"feature/{name.removesuffix('_embedding.weight')}")

    def model(self, settings, names):
        """Return our model of this world with the published weights."""
        model = build_of(self.graph, settings, batch_size=8)
        weights = {ours: self._weight(theirs) for ours, theirs in names.items()}
        result = model.load_state_dict(weights, strict=False)
        assert not result.unexpected_keys
        assert all("running" in name or "tracked" in name for name in result.missing_keys)
        return model


@dataclass
class Parts:
    """The training parts of users, as a run sees them."""

    parts: list

    def training_parts(self):
        """Return each user's items."""
        return self.parts


def build_of(graph, settings, batch_size, seed=0):
    """Build a model of a world; what lies in absent rows of features is NaN."""
    presence = torch.stack([graph.is_there(m) for m in range(len(graph.features))], dim=1)
    hidden = tuple(
        features.masked_fill(~there[:, None], float("nan"))[:, None]
        for features, there in zip(graph.features.values(), presence.T, strict=True)
    )
    pairs = graph.pairs.numpy()
    parts = [pairs[pairs[:, 0] == user, 1] for user in range(graph.user_count)]
    counts = np.bincount(pairs[:, 1], minlength=graph.item_count)
    features = FeatureTable(tuple(map(Modality, graph.features)), hidden, presence)
    return build_model(
        settings, ModelContext(features, Parts(parts), counts, 10, batch_size=batch_size, seed=seed)
    )


def with_matrices_of(model, graph):
    """Return a world with the matrices of a model, which are float32 to the last digit."""
    items = torch.eye(graph.item_count, dtype=torch.float64)
    graphs = model._graphs
    matrices = (
        (graphs.from_items @ items)[: graph.user_count],
        [one @ items for one in graphs.items],
    )
    names = list(model.views)
    places = [list(graph.features).index(name) for name in names]
    features = {name: graph.features[name] for name in names}
    presence = graph.presence[:, places]
    return Graph(graph.user_count, graph.item_count, graph.pairs, features, presence, matrices)


def weights_of(model):
    """Return the weights of a model as a twin takes them, and its buffers."""
    weights = {name: one.detach().double().clone() for name, one in model.state_dict().items()}
    return {
        name: one.requires_grad_() if name in dict(model.named_parameters()) else one
        for name, one in weights.items()
    }


@st.composite
def worlds(draw):
    """Draw users, items, pairs with duplicates, cold ones among both, and features of up to 4 modalities."""
    user_count, item_count = draw(st.integers(2, 5)), draw(st.integers(3, 7))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**16)))
    pair = st.tuples(st.integers(0, user_count - 1), st.integers(0, item_count - 1))
    pairs = draw(st.lists(pair, min_size=2, max_size=12))
    modalities = draw(
        st.lists(st.sampled_from(list(Modality)), min_size=1, max_size=4, unique=True)
    )
    modalities = sorted(modalities, key=list(Modality).index)
    features = {
        # Positive, so that no sum of similarities is negative.
        one.value: torch.rand(item_count, draw(st.integers(2, 4)), generator=generator) + 0.1
        for one in modalities
    }
    presence = torch.rand(item_count, len(modalities), generator=generator) < 0.8
    presence[presence.sum(dim=1) == 0, 0] = True
    presence[0] = True
    # Tables start as zero where an item has no features.
    features = {
        name: one.masked_fill(~there[:, None], 0.0)
        for (name, one), there in zip(features.items(), presence.T, strict=True)
    }
    graph = Graph(user_count, item_count, torch.tensor(pairs), features, presence)
    batches = []
    for _ in range(draw(st.integers(1, 3))):
        size = draw(st.integers(1, 5))
        rows = [
            torch.tensor(draw(st.lists(st.integers(0, count - 1), min_size=size, max_size=size)))
            for count in (user_count, item_count, item_count)
        ]
        batches.append(tuple(rows))
    return graph, batches
