"""A model, its optimiser and what both learn from, small and always the same."""

from functools import partial

import numpy as np
import torch

from crossan.train.features import Fetched
from crossan.train.loop.adamw import AdamW, Group
from crossan.train.loop.gradient_sum import gradient_sum_of
from crossan.train.loop.optimiser_state import optimiser_tensors
from crossan.train.loop.recorded_steps import RecordedSteps
from crossan.train.loop.step_runner import EagerSteps
from crossan.train.objectives.buckets import BucketedBatches
from crossan.train.objectives.candidates import rule_of
from crossan.train.objectives.in_batch import InBatch
from crossan.train.objectives.objective import SequenceObjective
from crossan.train.objectives.shared_buckets import SharedBatches
from crossan.train.objectives.shared_step import prepare_share
from crossan.train.objectives.step import prepare_batch
from crossan.train.sequences.padding import PADDING
from crossan.train.settings import CrossanSettings, FrozenSettings, IisanESettings, SasrecSettings
from crossan.train.settings.objective import ObjectiveSettings
from support.small_models import LAYER_COUNT, LENGTH, build, make_features

ITEM_COUNT, USER_COUNT, BATCH, SEED = 60, 50, 16, 3
DIMS = [3, 5]
KINDS = {
    "crossan": partial(CrossanSettings, bottleneck_dim=4),
    "crossan with ids": partial(CrossanSettings, bottleneck_dim=4, id_embedding=True),
    "crossan, concat": partial(CrossanSettings, bottleneck_dim=4, combine="concat"),
    "iisan-e": partial(IisanESettings, bottleneck_dim=4),
    "frozen": FrozenSettings,
    "dynamic-gate": partial(FrozenSettings, fusion="dynamic-gate"),
    "sasrec": SasrecSettings,
    "sasrec, all chosen otherwise": partial(
        SasrecSettings, norm="pre", positions="relative", scores="cosine"
    ),
}
CHOSEN = {
    "sasrec, all chosen otherwise": ObjectiveSettings(
        debias="negatives", uniform_negatives=9, temperature=0.2, label_smoothing=0.1
    )
}
"""What the objective of a kind does beside Eqs. 7-8."""


def make_sequences():
    """Users with 2 to 6 items, so that batches fall into several buckets."""
    rng = np.random.default_rng(SEED)
    lengths = rng.integers(2, LENGTH + 2, USER_COUNT)
    return torch.tensor(
        [
            [PADDING] * (LENGTH + 1 - length) + rng.integers(0, ITEM_COUNT, length).tolist()
            for length in lengths
        ]
    )


class Staged:
    """Features that are not where the model computes: gathered ahead, and copied."""

    def __init__(self, table):
        self._table, self.presence = table, table.presence

    def fetch(self, rows):
        return Fetched(rows, partial(self._table.gather, rows))


class World:
    """A model, its optimiser and what both learn from, always the same."""

    def __init__(self, kind, dropout=0.1, dtype=torch.float32):
        torch.manual_seed(SEED)
        shape = KINDS[kind](width=4, dropout=dropout)
        self.model = build(shape, DIMS, LAYER_COUNT, LENGTH, torch.ones(ITEM_COUNT)).to(dtype)
        generator = torch.Generator().manual_seed(SEED)
        self.features = make_features(DIMS, generator, 0.5, ITEM_COUNT)
        groups = self.model.parameter_groups()
        parts = (groups.adapters, groups.rest, groups.ids)
        self.optimiser = AdamW(
            [Group(params=part, lr=rate) for part, rate in zip(parts, (0.01, 0.003, 0.02), strict=True) if part],
            0.1,
        )  # fmt: skip
        sequences = make_sequences()
        log_p = torch.linspace(-5, -1, ITEM_COUNT, dtype=torch.float64).to(dtype)
        self.sequences, self.log_popularity = sequences, log_p
        self.rule = rule_of(CHOSEN.get(kind, ObjectiveSettings()), sequences, log_p)
        self.bucketed = BucketedBatches(sequences, BATCH, log_p, self.rule)
        loss = InBatch(log_p, partial(prepare_batch, rule=self.rule))
        self.objective = SequenceObjective(loss, sequences, BATCH, SEED)

    def recorded(self, recorder, features=None):
        return RecordedSteps(
            self.model, self.bucketed, features or self.features, self.optimiser, recorder
        )

    def shared(self, ranks, recorder=None, features=None):
        """Return what takes the steps of one of several ranks: by recordings, or in the shapes of its shares."""
        summed = gradient_sum_of(self.model, ranks)
        if recorder is None:
            loss = InBatch(self.log_popularity, partial(prepare_share, ranks, rule=self.rule))
            objective = SequenceObjective(loss, self.sequences, BATCH, SEED)
            return EagerSteps(self.model, objective, self.features, self.optimiser, summed)
        batches = SharedBatches(ranks, self.sequences, BATCH, self.log_popularity, self.rule)
        return RecordedSteps(
            self.model, batches, features or self.features, self.optimiser, recorder, summed
        )

    def eager(self):
        return EagerSteps(self.model, self.objective, self.features, self.optimiser)

    def train(self, steps, epochs=range(1, 5)):
        """Take the steps of some epochs, each with rates of its own, and return all there is."""
        losses = []
        self.model.train()
        for epoch in epochs:
            self.optimiser.rates = [group["lr"] / epoch for group in self.optimiser.param_groups]
            batches = self.objective.batches(epoch)
            losses.extend(steps.take(steps.prepare(batch)).clone() for batch in batches)
        return {
            "losses": torch.stack(losses),
            "random": torch.get_rng_state(),
            **self.model.state_dict(),
            **optimiser_tensors(self.optimiser),
        }
