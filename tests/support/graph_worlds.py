"""Small worlds of users, items and features for graph models, drawn or read from the golden files."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import torch
from hypothesis import strategies as st

from crossan.cache_schema.modality import Modality
from crossan.common.split import LEAVE_LAST_OUT
from crossan.train.features import FeatureTable
from crossan.train.loop.adamw import AdamW
from crossan.train.models.recommender import ModelContext
from crossan.train.models.table import build_model
from crossan.train.sequences.refit import RefitSequences
from support.beside_data import folder_beside_data

TOLERANCE = 5e-6
"""Of the golden numbers, which are float32."""


@dataclass(frozen=True)
class World:
    """Users, items and pairs; features by modality, with NaN in the rows of items that lack them."""

    user_count: int
    pairs: np.ndarray
    """``(pairs, 2)`` of user and item, some of which may be there twice."""
    features: dict[Modality, np.ndarray]
    """``(items, dim)`` each."""

    @property
    def item_count(self):
        return len(next(iter(self.features.values())))

    @property
    def is_present(self):
        """Which items have each modality, ``(items,)`` bool by modality."""
        return {
            modality: ~np.isnan(states).any(axis=1) for modality, states in self.features.items()
        }

    def adjacency(self):
        """Return who has what, ``(users, items)`` float64."""
        adjacency = torch.zeros(self.user_count, self.item_count, dtype=torch.float64)
        adjacency[tuple(torch.from_numpy(self.pairs).T)] = 1.0
        return adjacency


def normalised(adjacency):
    """Return D^-1/2 A D^-1/2 of users and items from who has what, dense."""
    users, items = adjacency.shape
    whole = torch.zeros(users + items, users + items, dtype=adjacency.dtype)
    whole[:users, users:], whole[users:, :users] = adjacency, adjacency.T
    roots = (whole.sum(dim=1) + 1e-7) ** -0.5
    return roots.unsqueeze(1) * whole * roots


def mean_of_powers(matrix, table, hops):
    """Return the mean of X, MX, ..., M^L X."""
    layers = [table]
    for _ in range(hops):
        layers.append(matrix @ layers[-1])
    return torch.stack(layers).mean(dim=0)


def context_of(world, seed=0, batch_size=5):
    """Return what a model of a world is built for."""
    order = np.argsort(world.pairs[:, 0], kind="stable")
    users, items = world.pairs[order].T
    counts = np.bincount(users, minlength=world.user_count)
    sequences = RefitSequences(
        np.array([f"u{user:03d}" for user in range(world.user_count)]),
        np.array([f"i{item:03d}" for item in range(world.item_count)]),
        items.astype(np.int64),
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        LEAVE_LAST_OUT,
    )
    modalities = tuple(modality for modality in Modality if modality in world.features)
    features = FeatureTable(
        modalities,
        tuple(
            torch.from_numpy(world.features[modality]).float().unsqueeze(1)
            for modality in modalities
        ),
        torch.stack([torch.from_numpy(world.is_present[modality]) for modality in modalities], 1),
    )
    item_counts = np.bincount(items, minlength=world.item_count)
    return ModelContext(features, sequences, item_counts, 10, batch_size=batch_size, seed=seed)


def build(settings, world, seed=0):
    """Build a model for a world, with random weights that are not small."""
    torch.manual_seed(seed)
    model = build_model(settings, context_of(world, seed))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    return model


@st.composite
def worlds(draw):
    """Up to six users and items, some of them cold, pairs twice, and one to three modalities."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    user_count, item_count = draw(st.integers(1, 6)), draw(st.integers(3, 6))
    modalities = draw(
        st.lists(st.sampled_from(list(Modality)), min_size=1, max_size=3, unique=True)
    )
    features = {}
    for modality in sorted(modalities, key=list(Modality).index):
        states = random.normal(size=(item_count, int(random.integers(2, 5))))
        states[random.random(item_count) < 0.2] = np.nan
        features[modality] = states
    pairs = random.integers(0, [user_count, item_count], (int(random.integers(1, 15)), 2))
    return World(user_count, pairs, features), random


def triples_of(world, random, count=5):
    """Draw users, items and other items, ``(count,)`` each."""
    counts = (world.user_count, world.item_count, world.item_count)
    return [torch.from_numpy(random.integers(0, most, count)) for most in counts]


def gradients_of(loss, model):
    """Return the gradient of every parameter by its name, zeros where nothing reads it."""
    for parameter in model.parameters():
        parameter.grad = None
    loss.backward()
    return {
        name: torch.zeros_like(parameter)
        if parameter.grad is None
        else parameter.grad.to_dense().clone()
        for name, parameter in model.named_parameters()
    }


def take_steps(model, batches, rate=0.05):
    """Train by our optimiser, without weight decay."""
    optimiser = AdamW([{"params": list(model.parameters()), "lr": rate}], weight_decay=0.0)
    for loss_of in batches:
        optimiser.zero_grad()
        loss_of(model).backward()
        optimiser.step()


def take_slow_steps(weights, batches, rate=0.05):
    """Train dense weights, leaves by name, by Adam as its publication has it."""
    first, second = ({name: torch.zeros_like(leaf) for name, leaf in weights.items()} for _ in "mv")
    for step, loss_of in enumerate(batches, start=1):
        gradients = torch.autograd.grad(
            loss_of(weights), list(weights.values()), allow_unused=True, materialize_grads=True
        )
        for (name, leaf), gradient in zip(weights.items(), gradients, strict=True):
            first[name] = 0.9 * first[name] + 0.1 * gradient
            second[name] = 0.999 * second[name] + 0.001 * gradient**2
            mean, square = first[name] / (1 - 0.9**step), second[name] / (1 - 0.999**step)
            with torch.no_grad():
                leaf -= rate * mean / (square.sqrt() + 1e-8)


class Golden:
    """The numbers of a model's own published code on a tiny world."""

    def __init__(self, model):
        folder = folder_beside_data("golden", model)
        with np.load(folder / "golden.npz") as arrays:
            self.arrays = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        meta = json.loads((folder / "meta.json").read_text())
        self.config, self.trainable = meta["config"], meta["trainable"]

    def __getitem__(self, name):
        return self.arrays[name]

    @property
    def world(self):
        return World(
            6,
            self["data/train_pairs"].numpy(),
            {Modality(name): self[f"feature/{name}"].numpy() for name in ("text", "image")},
        )

    @property
    def triples(self):
        return [self[f"batch/{name}"] for name in ("users", "pos", "neg")]

    def published_weight(self, name):
        """Return a weight by its published name; tables of features begin as the features."""
        features = name.removesuffix("_embedding.weight")
        return self.arrays.get(f"feature/{features}", self.arrays.get(f"weight/{name}"))

    def load(self, model, published):
        """Give a model the published weights, by our names of theirs."""
        assert {*published} == {name for name, _ in model.named_parameters()}
        assert {*published.values()} == {*self.trainable}
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(self.published_weight(published[name]))

    def weights(self, published):
        """Return the published weights as float64 leaves, by our names."""
        return {
            name: self.published_weight(theirs).double().requires_grad_()
            for name, theirs in published.items()
        }

    def gradients(self, published):
        return {name: self[f"grad/{theirs}"] for name, theirs in published.items()}


def largest_difference(first, second):
    """Return the largest difference of any two numbers, of tensors by the same names.

    It is relative to the largest number of a tensor where that is above 1: edges have
    weights in float32, whatever a model is computed in.
    """
    assert first.keys() == second.keys()
    scales = {name: max(1.0, second[name].abs().max().item()) for name in second}
    return max(
        (first[name].double() - second[name].double()).abs().max().item() / scales[name]
        for name in first
    )
