"""Steps and rankings in this process: right beside the CPU's float32, and how fast a ranking is."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event

import numpy as np
import torch
from card import Card
from report import Report
from shape import Shape
from torch import Tensor
from world import INPUT_LENGTH, World, build, crossan_settings

from crossan.train.evaluation.encoding import encode_items, encode_users
from crossan.train.evaluation.ranker import VectorRanker
from crossan.train.evaluation.ranking import ranks_by_counting
from crossan.train.features import FeatureTable
from crossan.train.loop.validation import validate
from crossan.train.objectives.step import (
    LossOfBatch,
    loss_by_position,
    loss_of_batch,
)
from crossan.train.ranks.ranks import ALONE
from crossan.train.sequences.popularity import training_counts
from crossan.train.sequences.splits import ValidationSplit, pad_left
from crossan.train.settings import (
    CrossanSettings,
    FrozenSettings,
    SasrecSettings,
    SequenceSettings,
)

__all__ = ["Steps"]

_TOLERANCE, _ROUNDED = 1e-4, 3e-2
"""Of a loss and its gradients, relative: float32 summed in another order, and bfloat16 products."""
_OTHER_RANKS = 1e-3
"""Share of users whose rank may differ, where two scores are a rounding apart."""


class Steps:
    """Steps and rankings of one world on one card."""

    def __init__(self, card: Card, shape: Shape, world: World, report: Report) -> None:
        self._card, self._shape, self._world, self._report = card, shape, world, report
        self._popularity = world.log_popularity.to(card.device)

    def check_steps(self) -> None:
        """Hold loss and gradients of a step against those of the CPU in float32."""
        sequences = self._sequences(self._shape.batch_sizes[0])
        for name, settings in self._models().items():
            cpu = self._loss_and_gradients(name, torch.device("cpu"), sequences, loss_of_batch)
            for label, chosen, way, most in (
                ("float32", settings, loss_of_batch, _TOLERANCE),
                ("float32, --reference", settings, loss_by_position, _TOLERANCE),
                ("bfloat16", _in_bfloat16(settings), loss_of_batch, _ROUNDED),
            ):
                if chosen is None:
                    continue
                with self._card.exact():
                    device = self._loss_and_gradients(
                        name, self._card.device, sequences, way, chosen
                    )
                apart = max(
                    _relative(ours, theirs) for ours, theirs in zip(device, cpu, strict=True)
                )
                self._report.check(f"{name}, {label}: loss and gradients", apart, most)

    def _models(self) -> dict[str, SequenceSettings]:
        """Return the compared kinds without dropout, whose random numbers differ by device."""
        return {
            "crossan": crossan_settings(self._shape, dropout=0.0),
            "frozen": FrozenSettings(width=64, dropout=0.0),
            "sasrec": SasrecSettings(width=64, dropout=0.0),
        }

    def _loss_and_gradients(
        self,
        name: str,
        device: torch.device,
        sequences: Tensor,
        way: LossOfBatch,
        settings: SequenceSettings | None = None,
    ) -> list[Tensor]:
        model = build(settings or self._models()[name], self._world, device)
        features = self._features_of(name, device)
        loss = way(model, features, sequences, self._world.log_popularity.to(device))
        gradients = torch.autograd.grad(
            loss, list(model.parameters()), allow_unused=True, materialize_grads=True
        )
        return [part.detach().cpu().double() for part in (loss, *gradients)]

    def _features_of(self, name: str, device: torch.device) -> FeatureTable:
        if name == "sasrec":
            return FeatureTable.without_content(self._shape.items, device)
        return self._world.features_on(device)

    def check_ranks(self) -> None:
        """Hold the ranks of all users against those that the CPU counts of the same vectors."""
        random = torch.Generator().manual_seed(2)
        users, items = len(self._world.histories), self._shape.items
        user_vectors = torch.randn(users, 64, generator=random)
        item_vectors = torch.randn(items, 64, generator=random)
        split = self._split()
        ranks = {}
        for device in {torch.device("cpu"), self._card.device}:
            ranker = VectorRanker(user_vectors.to(device), item_vectors.to(device))
            with self._card.exact():
                counted = ranks_by_counting(
                    ranker, split.targets.to(device), split.histories, "all"
                )
            ranks[device.type] = counted.cpu()
        other = (ranks["cpu"] != ranks[self._card.device.type]).double().mean()
        self._report.check("share of users with another rank", float(other), _OTHER_RANKS)

    def measure_validation(self) -> None:
        """Measure the ranking of all users over all items, items encoded and not."""
        model = build(
            crossan_settings(self._shape, compute="bfloat16"), self._world, self._card.device
        ).eval()
        features, split = self._world.features_on(self._card.device), self._split()
        counts = training_counts(np.concatenate(split.histories), self._shape.items)
        whole = self._seconds(
            lambda: validate(model, features, (split, counts), "all", ALONE, Event()), rounds=3
        )
        label = f"validation of {len(split.histories):,} users, {self._shape.items:,} items"
        self._report.figure(label, whole, "s", 0.3)
        items = encode_items(model, features)
        self._report.figure(
            "of it: items encoded", self._seconds(lambda: encode_items(model, features), 3), "s"
        )
        self._report.figure(
            "of it: users encoded",
            self._seconds(lambda: encode_users(model, items, split.inputs), 3),
            "s",
        )
        users = encode_users(model, items, split.inputs)
        targets = split.targets.to(self._card.device)
        counting = self._seconds(
            lambda: ranks_by_counting(VectorRanker(users, items), targets, split.histories, "all"),
            3,
        )
        self._report.figure("of it: ranks counted", counting, "s", 0.2)

    def _seconds(self, work: Callable[[], object], rounds: int | None = None) -> float:
        return self._card.seconds(work, rounds or self._shape.rounds)

    def _sequences(self, users: int) -> Tensor:
        return self._world.training[:users]

    def _split(self) -> ValidationSplit:
        histories = [items[:-2] for items in self._world.histories]
        targets = torch.tensor([int(items[-2]) for items in self._world.histories])
        return ValidationSplit(
            pad_left(histories, INPUT_LENGTH), targets, torch.arange(len(histories)), histories
        )


def _in_bfloat16(settings: SequenceSettings) -> SequenceSettings | None:
    if not isinstance(settings, CrossanSettings):
        return None
    return settings.model_copy(update={"compute": "bfloat16"})


def _relative(ours: Tensor, theirs: Tensor) -> float:
    size = theirs.norm()
    return float((ours - theirs).norm() / size) if size else float(ours.norm())
