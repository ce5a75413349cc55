"""The most memory that a training will take, known before its first step.

One step of the largest batch, and the parts of a validation, run over tensors without numbers
(`crossan.train.runs.allocations`): what they allocate is counted, nothing is computed and no weight
moves. Whatever model or objective there is, what is counted is what it does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.func import functional_call

from crossan.common.console import note
from crossan.common.memory import first_line, resident_bytes
from crossan.train.evaluation.encoding import ITEMS_PER_BLOCK, users_at_once
from crossan.train.evaluation.lower import Blocks
from crossan.train.evaluation.ranker import VectorRanker
from crossan.train.evaluation.ranking import ranks_by_counting
from crossan.train.evaluation.user_vectors import encode_users
from crossan.train.features import ItemInputs
from crossan.train.features.on_paper import bytes_on, on_paper
from crossan.train.loop.averaging import kept_bytes
from crossan.train.loop.gradient_sum import gradient_sum_of
from crossan.train.loop.optimiser import make_optimiser
from crossan.train.loop.trainable import RefitRun, TrainableRun
from crossan.train.models.recommender import TableModel
from crossan.train.models.sequence_model import SequenceModel
from crossan.train.objectives import Objective, ObjectiveContext, make_objective
from crossan.train.ranks.ranks import Ranks
from crossan.train.runs.paper_ranks import ranks_on_paper
from crossan.train.runs.peak_memory import PeakMemory
from crossan.train.sequences.popularity import log_popularity, training_counts
from crossan.train.sequences.refit import refit_split
from crossan.train.sequences.splits import (
    ValidationSplit,
    train_split,
    users_of_split,
    validation_split,
)

__all__ = ["bytes_in_use", "predict_peak"]

if TYPE_CHECKING:
    from crossan.train.runs.allocations import Allocations

_CUDA_GRANULE = 512
"""Bytes that torch's allocator on CUDA gives out multiples of."""
_BATCHES_LOOKED_AT = 16
"""Batches of the first epoch of which the largest is taken."""
_MOST_STEPS = 100
"""How many steps an objective is given at most to fill its memory."""
_BLOCKS_ENCODED = 2
"""How many blocks of items are encoded on paper: the second stands beside what the first left."""


def bytes_in_use(device: torch.device) -> int:
    """Return the memory that this process takes now where it computes."""
    return resident_bytes() if device.type == "cpu" else torch.cuda.memory_allocated(device)


def predict_peak(run: TrainableRun | RefitRun, ranks: Ranks, before: int) -> PeakMemory | None:
    """Return the peak of a training, None where a model cannot be run on paper.

    It costs what Python takes to call the operations of a step and of some blocks of a
    validation. Nothing of the run changes: not its weights, nor the state of torch's generators.

    Parameters
    ----------
    run
        What is trained, with everything loaded.
    ranks
        The processes that train together. What is returned is of this one.
    before
        What `bytes_in_use` said before the first step.
    """
    device = run.device
    on_cpu = device.type == "cpu"
    with torch.random.fork_rng([] if on_cpu else [device]), _attributes_kept(run.model):
        try:
            # Here, because it names operators that another version of torch may not have: every
            # command imports this module, and few predict.
            from crossan.train.runs.allocations import Allocations

            allocations = Allocations(1 if on_cpu else _CUDA_GRANULE)
            optimiser, step, validation = _on_stand_ins(
                run.model, allocations, partial(_epoch, run, ranks_on_paper(ranks), allocations)
            )
        except Exception as error:  # noqa: BLE001 - whatever a model does with tensors without numbers, it can still be trained
            note(f"memory: no prediction for this run: {first_line(error)}")
            return None
    features = bytes_on(run.features)
    triples = run.settings.model.learns_from == "triples"
    return PeakMemory(
        features=features,
        others=max(before - features, 0),
        optimiser=optimiser,
        step=step,
        validation=validation,
        batch=f"{run.settings.batch_size:,} {'triples' if triples else 'users'}",
        is_on_cpu=on_cpu,
        averaged=kept_bytes(run.model, run.settings.average_epochs) if on_cpu else 0,
    )


def _epoch(
    run: TrainableRun | RefitRun,
    ranks: Ranks,
    allocations: Allocations,
    model: SequenceModel | TableModel,
) -> tuple[int, int, int]:
    """Return the bytes of the optimiser, of a step and of a validation."""
    assert isinstance(model, nn.Module)
    objective, features = _objective(run, ranks), on_paper(run.features, allocations.outline)
    optimiser = make_optimiser(model.parameter_groups(), run.settings.optimiser)
    batch = _largest_batch(objective)
    model.train()
    with allocations:
        summed = gradient_sum_of(model, ranks)

        def step_down() -> None:
            optimiser.zero_grad()
            loss = objective.prepare(features, batch)(model)
            loss.backward()
            if summed is not None:
                summed(loss)

        step_down()
        if _is_filled(objective, features, batch, model):
            step_down()
        step = allocations.storages.peak
        # The moments are made in the first step, and there from then on.
        gradients = allocations.storages.live
        optimiser.step()
        moments = allocations.storages.live - gradients
        step = max(step, allocations.storages.peak - moments)
        if isinstance(run, RefitRun):
            return moments, step, 0
        allocations.storages.forget_peak()
        _validate(model, features, validation_split(run.seen, run.settings.data.input_length), run)
    return moments, step, allocations.storages.peak - moments


def _objective(run: TrainableRun | RefitRun, ranks: Ranks) -> Objective:
    """Return an objective of its own, so that the one which trains remembers nothing of this."""
    length = run.settings.data.input_length
    if isinstance(run, RefitRun):
        train = refit_split(run.seen, length)
    else:
        train = train_split(run.seen, length)
    counts = training_counts(run.seen.training_items, len(run.seen.item_ids))
    log_p = log_popularity(counts).to(run.device)
    context = ObjectiveContext(run.settings, train, log_p, ranks, run.seen)
    return make_objective(context)


@torch.no_grad()
def _is_filled(objective: Objective, features: ItemInputs, batch: Tensor, model: nn.Module) -> bool:
    """Have an objective remember as much as it ever does, and return whether that is anything."""
    remembered = -1
    for _ in range(_MOST_STEPS):
        size = sum(tensor.nbytes for tensor in objective.state().values())
        if size <= remembered:
            break
        remembered = size
        if size:
            objective.prepare(features, batch)(model)
    return remembered > 0


def _largest_batch(objective: Objective) -> Tensor:
    batches = objective.batches(1)[:_BATCHES_LOOKED_AT]
    return max(batches, key=lambda batch: len(objective.items_of(batch)))


@torch.inference_mode()
def _validate(
    model: SequenceModel | TableModel,
    features: ItemInputs,
    split: ValidationSplit,
    run: TrainableRun,
) -> None:
    """Encode some blocks of items and of users, and rank a block of them."""
    assert isinstance(model, nn.Module)
    model.eval()
    if isinstance(model, TableModel):
        users, items = model.propagate()
        users = users[torch.arange(len(users), device=run.device)]
    else:
        items = _item_vectors(model, features)
        split = users_of_split(split, slice(users_at_once(items)))
        users = encode_users(model, items, split.inputs)
    ranker = VectorRanker(users, items)
    ranked = min(Blocks.of(ranker).users_at_once, len(users))
    targets = torch.arange(ranked, device=run.device) % len(items)
    ranks_by_counting(ranker, targets, split.histories, run.settings.mask_history)


def _item_vectors(model: SequenceModel, features: ItemInputs) -> Tensor:
    """Return room for the vectors of all items, as `encode_items` makes it."""
    device, item_count = features.presence.device, len(features.presence)
    whole: Tensor | None = None
    for block in torch.arange(item_count).split(ITEMS_PER_BLOCK)[:_BLOCKS_ENCODED]:
        encoded = model.item_vectors(features.fetch(block), block.to(device))
        if whole is None:
            whole = encoded.new_empty((item_count, encoded.shape[1]))
        whole[: len(encoded)] = encoded
    assert whole is not None  # a catalogue has items
    return whole


def _on_stand_ins(
    model: nn.Module,
    allocations: Allocations,
    work: Callable[[SequenceModel | TableModel], tuple[int, int, int]],
) -> tuple[int, int, int]:
    """Return what ``work`` does for the model while stand-ins are its parameters and buffers."""
    holder = _Holder(model, work)
    named = (*holder.named_parameters(), *holder.named_buffers())
    weights = {name: allocations.outline(tensor) for name, tensor in named}
    sizes: tuple[int, int, int] = functional_call(holder, weights, ())
    return sizes


class _Holder(nn.Module):
    """What is called instead of a model, of which training calls other methods than `forward`."""

    def __init__(
        self,
        model: nn.Module,
        work: Callable[[SequenceModel | TableModel], tuple[int, int, int]],
    ) -> None:
        super().__init__()
        self.model, self._work = model, work

    def forward(self) -> tuple[int, int, int]:
        model = self.model
        assert isinstance(model, SequenceModel | TableModel)
        return self._work(model)


@contextmanager
def _attributes_kept(model: nn.Module) -> Iterator[None]:
    """Put back every attribute of a model's modules that the block sets."""
    kept = [(module, dict(vars(module))) for module in model.modules()]
    try:
        yield
    finally:
        for module, attributes in kept:
            vars(module).clear()
            vars(module).update(attributes)
