"""How fast the product's own step runners take steps in this process, and what they need."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from card import Card
from report import Report
from shape import Shape
from torch import Tensor
from world import World, build, crossan_settings

from crossan.cache_schema.modality import Modality
from crossan.train.features import FeatureTable
from crossan.train.loop.choosing import recorder_of
from crossan.train.loop.optimiser import make_optimiser
from crossan.train.loop.preparing import prepared_batches
from crossan.train.loop.recorded_steps import RecordedSteps
from crossan.train.loop.recorder import Repeater
from crossan.train.loop.step_runner import EagerSteps, StepRunner
from crossan.train.objectives.buckets import BucketedBatches
from crossan.train.objectives.in_batch import InBatch
from crossan.train.objectives.objective import SequenceObjective
from crossan.train.objectives.step import prepare_by_position
from crossan.train.sequences.padding import PADDING
from crossan.train.settings import OptimiserSettings

__all__ = ["Speed"]

_MEMORY_GOAL_GB, _EPOCH_GOAL_S, _TOWERS_GOAL = 3.0, 0.5, 0.4
_STEPS_TO_RECORD = 3
"""Of one bucket: the first is computed, the second recorded, and the third repeats it."""


@dataclass(frozen=True, slots=True)
class _Way:
    """How steps are taken."""

    compute: str
    flag: str = ""
    """Of ``crossan train``; by default steps are recorded, where the device records."""

    def label(self) -> str:
        """Return what the figures of this way are called."""
        return f"{self.compute}, {self.flag or 'recorded'}"


_RECORDED, _UNRECORDED = _Way("bfloat16"), _Way("bfloat16", "--no-recording")
_WAYS = (_RECORDED, _UNRECORDED, _Way("float32"), _Way("float32", "--reference"))


class Speed:
    """Steps over one world on one card."""

    def __init__(self, card: Card, shape: Shape, world: World, report: Report) -> None:
        self._card, self._shape, self._world, self._report = card, shape, world, report
        self._popularity = world.log_popularity.to(card.device)

    def measure_steps(self) -> None:
        """Measure a step at every batch size: recorded, launched anew, and by the plain way.

        What the card can do at best is measured first, in the same minutes.
        """
        rates = self._ceilings()
        features = self._world.features_on(self._card.device)
        for users in self._shape.batch_sizes:
            for way in _WAYS:
                self._measure_step(features, users, way)
            self._measure_memory(features, users)
            self._measure_towers(features, users, rates["bfloat16"])

    def _measure_step(self, features: FeatureTable, users: int, way: _Way) -> None:
        steps, batch = self._runner(features, users, way), torch.arange(users)
        label = f"step of {users:,} users, {way.label()}"

        def take() -> None:
            steps.take(steps.prepare(batch))

        self._report.figure(label, self._seconds(take) * 1e3, "ms")
        if way not in (_RECORDED, _UNRECORDED):
            return
        launches, table = self._card.launches(take)
        self._report.figure(f"{label}: launches", launches, "launches")
        if way == _UNRECORDED:
            return  # its kernels are the same
        self._report.texts[f"Kernels of a {label}"] = table
        preparing = self._seconds(lambda: steps.prepare(batch)) * 1e3
        self._report.figure(
            f"{label}: of it on the host, which a thread does ahead", preparing, "ms"
        )

    def _measure_memory(self, features: FeatureTable, users: int) -> None:
        """Measure what a new training takes until it repeats a step."""
        label = f"step of {users:,} users, {_RECORDED.label()}"
        peak, reserved = self._card.peak_bytes(lambda: self._begin(features, users))
        self._report.figure(f"{label}: peak memory", peak / 1e9, "GB", _MEMORY_GOAL_GB)
        self._report.figure(f"{label}: peak memory, reserved", reserved / 1e9, "GB")

    def _begin(self, features: FeatureTable, users: int) -> None:
        """Take the first steps of a training, until one is repeated."""
        steps = self._runner(features, users, _RECORDED)
        for _ in range(_STEPS_TO_RECORD):
            steps.take(steps.prepare(torch.arange(users)))

    def _runner(self, features: FeatureTable, users: int, way: _Way) -> StepRunner:
        """Return what takes the steps of a new model."""
        settings = crossan_settings(self._shape, dropout=0.1, compute=way.compute)
        model = build(settings, self._world, self._card.device).train()
        optimiser = make_optimiser(model.parameter_groups(), OptimiserSettings())
        if way.flag == "--reference":
            loss = InBatch(self._popularity, prepare_by_position)
            objective = SequenceObjective(loss, self._world.training, users, seed=0)
            return EagerSteps(model, objective, features, optimiser)
        batches = BucketedBatches(self._world.training, users, self._popularity)
        # A CPU records nothing: its steps are those of the same shapes.
        recorder = None if way.flag else recorder_of(self._card.device)
        return RecordedSteps(model, batches, features, optimiser, recorder or Repeater())

    def _measure_towers(self, features: FeatureTable, users: int, peak: float) -> None:
        """Measure the share of the matmul peak that the towers reach, forward and backward."""
        settings = crossan_settings(self._shape, dropout=0.0, compute="bfloat16")
        model = build(settings, self._world, self._card.device)
        assert model.item_encoder is not None
        towers = model.item_encoder.towers
        sequences = self._world.training[:users]
        rows = sequences[sequences != PADDING].unique()
        hidden, presence = features.gather(rows)
        weights = [weight for weight in towers.parameters() if weight.requires_grad]

        def climb() -> tuple[Tensor | None, ...]:
            outputs = towers(hidden, presence)
            return torch.autograd.grad(outputs.sum(), weights, allow_unused=True)

        shape, count = self._shape, len(Modality)
        adapters = 2 * len(rows) * count * shape.layers * 2 * shape.dim * shape.bottleneck
        heads = 2 * count * shape.dim * settings.width * (len(rows) + shape.dim)
        goal = _TOWERS_GOAL if users == max(shape.batch_sizes) else None
        reached = 3 * (adapters + heads) / self._seconds(climb) / peak
        name = f"towers of {users:,} users, {len(rows):,} items: share of the bfloat16 peak"
        self._report.figure(name, reached, "", goal, is_floor=True)

    def measure_training(self) -> None:
        """Measure all steps of an epoch without validation, one prepared ahead as the product does.

        At the smallest batch size, whose steps are the most, they are launched anew as well.
        """
        features = self._world.features_on(self._card.device)
        sizes = self._shape.batch_sizes
        for users, way in (*((users, _RECORDED) for users in sizes), (min(sizes), _UNRECORDED)):
            seconds = self._epoch_seconds(features, users, way)
            label = f"epoch of {self._shape.name}, {users:,} users a step, training alone"
            goal = None if way.flag else _EPOCH_GOAL_S
            self._report.figure(f"{label}, {way.flag or 'recorded'}", seconds, "s", goal)

    def _epoch_seconds(self, features: FeatureTable, users: int, way: _Way) -> float:
        steps = self._runner(features, users, way)
        random = torch.Generator().manual_seed(0)
        order = torch.randperm(len(self._world.training), generator=random).split(users)

        def take_all() -> None:
            with prepared_batches(steps.prepare, order, is_ahead=True) as ready:
                for prepared in ready:
                    steps.take(prepared)

        # Two epochs before the timed one: after them every bucket that comes twice is recorded.
        return self._seconds(take_all, rounds=1)

    def _ceilings(self) -> dict[str, float]:
        """Measure what the card can do at best; return operations and bytes per second."""
        shape, card = self._shape, self._card
        rates = {
            "bfloat16": card.product_rate(shape.square, shape.rounds, torch.bfloat16),
            "float32": card.product_rate(shape.square, shape.rounds, torch.float32),
            "bytes": card.bandwidth(shape.copied_bytes, shape.rounds),
        }
        self._report.figure("bfloat16 matmul peak", rates["bfloat16"] / 1e12, "TFLOP/s")
        self._report.figure("float32 matmul peak", rates["float32"] / 1e12, "TFLOP/s")
        self._report.figure("copy, read and written", rates["bytes"] / 1e12, "TB/s")
        return rates

    def _seconds(self, work: Callable[[], object], rounds: int | None = None) -> float:
        return self._card.seconds(work, rounds or self._shape.rounds)
