"""A step asks its device for nothing, and the host gives it one copy.

The tensors are on torch's device without memory, where a question has no answer.
"""

from contextlib import contextmanager

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from crossan.train.features import FeatureTable
from crossan.train.loop.adamw import AdamW
from crossan.train.loop.adamw import Group as Rated
from crossan.train.loop.gradient_sum import GradientSum
from crossan.train.loop.recorded_steps import RecordedSteps
from crossan.train.loop.recorder import Repeater
from crossan.train.objectives.buckets import BucketedBatches
from crossan.train.objectives.shared_buckets import SharedBatches
from crossan.train.ranks.ranks import ALONE, Ranks
from support.recorded_world import BATCH, KINDS, World, make_sequences
from support.tape import CannotRecordError, name_of, require_recordable, tensors_of

DEVICE = torch.device("meta")


class _Device(TorchDispatchMode):
    """Counts what comes from the host, and takes the optimiser's kernel, which this device lacks."""

    def __init__(self):
        super().__init__()
        self.from_host, self.moved = [], 0

    def __torch_dispatch__(self, operation, types, arguments=(), named=None):
        named = named or {}
        devices = {tensor.device.type for tensor in tensors_of((arguments, named))}
        if devices == {"cpu", "meta"}:
            self.from_host.append(str(operation))
        if name_of(operation) == "_fused_adamw_":
            self.moved += len(arguments[0])
            return None
        return operation(*arguments, **named)


class _Recording(TorchDispatchMode):
    """Refuses whatever a recording cannot hold."""

    def __torch_dispatch__(self, operation, types, arguments=(), named=None):
        named = named or {}
        require_recordable(operation, arguments)
        result = operation(*arguments, **named)
        used = tensors_of((arguments, named, result))
        if any(tensor.device != DEVICE for tensor in used):
            raise CannotRecordError(f"{operation}: reads or makes a tensor of the host")
        return result


class Recorder(Repeater):
    """Computes all steps on a device without memory, and the recorded ones under its eyes."""

    def __init__(self):
        self.device, self.recorded = _Device(), 0

    @contextmanager
    def in_order(self):
        with self.device:
            yield

    def record(self, step):
        def watched():
            self.recorded += 1
            with _Recording():
                step()

        return watched


class Group:
    """Stands for `torch.distributed`: the other rank of two sends the same as this one."""

    def all_reduce(self, tensor, *, async_op=False):
        tensor.mul_(2)
        return self if async_op else None

    def all_gather(self, parts, sent):
        for part in parts:
            part.copy_(sent)

    def wait(self):
        pass


def steps_on_the_device(kind, recorder, ranks=ALONE):
    """Return what takes the steps of a world whose tensors are all on the device."""
    world = World(kind)
    model = world.model.to(DEVICE)
    hidden = tuple(states.to(DEVICE) for states in world.features.hidden)
    features = FeatureTable(world.features.modalities, hidden, world.features.presence.to(DEVICE))
    optimiser = AdamW([Rated(params=list(model.parameters()), lr=0.1)], 0.1)
    log_popularity = torch.zeros(len(features.presence), device=DEVICE)
    learned = (make_sequences(), BATCH, log_popularity)
    is_shared = ranks.count > 1
    batches = SharedBatches(ranks, *learned) if is_shared else BucketedBatches(*learned)
    early = model.item_parameters()
    summed = GradientSum(model.parameters(), ranks, early, message_bytes=64) if is_shared else None
    steps = RecordedSteps(model.train(), batches, features, optimiser, recorder, summed)
    return model, steps


@pytest.mark.parametrize(
    ("kind", "ranks"),
    [
        *((kind, ALONE) for kind in KINDS),
        ("crossan with ids", Ranks(1, 2)),
        ("sasrec", Ranks(0, 2)),
    ],
)
def test_nothing_waits_for_the_device(kind, ranks, monkeypatch):
    monkeypatch.setattr("crossan.train.ranks.ranks.dist", Group())
    recorder = Recorder()
    model, steps = steps_on_the_device(kind, recorder, ranks)
    batch = torch.arange(BATCH)
    for _ in range(3):
        loss = steps.take(steps.prepare(batch))
    assert loss.device == DEVICE
    assert recorder.recorded == 2
    # One piece a step, whatever ranks send each other. All parameters are moved in each.
    assert recorder.device.from_host == ["aten.copy_.default"] * 3
    assert recorder.device.moved == 3 * len(list(model.parameters()))


@pytest.mark.parametrize(
    "question",
    [
        lambda numbers: numbers.sum().item(),
        lambda numbers: bool(numbers.any()),
        lambda numbers: numbers.nonzero(),
        lambda numbers: numbers[numbers > 0],
        lambda numbers: numbers.cpu(),
        lambda numbers: numbers + torch.tensor(1.0),
        lambda numbers: torch.arange(3).to(DEVICE),
    ],
)
def test_a_question_is_noticed(question):
    """Or the test above would pass for a step that asks."""
    numbers = torch.zeros(3, device=DEVICE)
    with pytest.raises((CannotRecordError, RuntimeError, NotImplementedError)), _Recording():
        question(numbers)
