"""Steps by recordings: the bits of steps without, and those of the shapes that batches have to rounding.

`Tape` does on the CPU what a CUDA graph does on a device.
"""

import gc
import weakref
from functools import partial

import pytest
import torch

from crossan.train.loop.recorder import Repeater
from support.recorded_world import KINDS, Staged, World
from support.tape import CannotRecordError, Tape


def assert_same_bits(one, other):
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


@pytest.mark.parametrize("kind", KINDS)
def test_a_recording_takes_the_steps_of_the_function_itself(kind):
    """Dropout, rates that change and batches of several buckets in turn: to the bit."""
    tape = Tape()
    recorded, repeated = World(kind), World(kind)
    torch.manual_seed(1)
    actual = recorded.train(recorded.recorded(tape))
    torch.manual_seed(1)
    assert_same_bits(actual, repeated.train(repeated.recorded(Repeater())))
    # 16 steps. Of every bucket the first is no recording's, and 2 buckets at least came again.
    assert tape.recordings >= 2
    assert tape.replays >= 8


@pytest.mark.parametrize("kind", ["crossan", "crossan with ids"])
def test_features_that_are_copied_ahead_give_the_same_bits(kind):
    resident, staged = World(kind), World(kind)
    torch.manual_seed(1)
    expected = resident.train(resident.recorded(Tape()))
    torch.manual_seed(1)
    assert_same_bits(expected, staged.train(staged.recorded(Tape(), Staged(staged.features))))


@pytest.mark.parametrize("kind", KINDS)
def test_the_steps_are_those_of_the_shapes_that_batches_have(kind):
    """Without dropout, whose draws depend on shapes; in float64, the rest is rounding."""
    recorded, eager = World(kind, 0.0, torch.float64), World(kind, 0.0, torch.float64)
    actual = recorded.train(recorded.recorded(Repeater()))
    expected = eager.train(eager.eager())
    for name, tensor in expected.items():
        if name == "losses":
            torch.testing.assert_close(actual[name].double(), tensor, rtol=1e-6, atol=0)
        elif name != "random":
            torch.testing.assert_close(actual[name], tensor, rtol=1e-9, atol=1e-9, msg=name)


def test_a_training_goes_on_by_recordings_as_it_would_have():
    """A checkpoint is weights, moments and random state: which steps were recorded shows in none."""
    whole, first = World("crossan"), World("crossan")
    torch.manual_seed(1)
    expected = whole.train(whole.recorded(Tape()))
    torch.manual_seed(1)
    begun = first.train(first.recorded(Tape()), range(1, 3))
    second = World("crossan")
    second.model.load_state_dict(first.model.state_dict())
    second.optimiser.load_state_dict(first.optimiser.state_dict())
    torch.set_rng_state(begun["random"])
    actual = second.train(second.recorded(Tape()), range(3, 5))
    actual["losses"] = torch.cat([begun["losses"], actual["losses"]])
    assert_same_bits(actual, expected)


def test_recordings_end_with_the_training():
    """Without a collector: they hold memory of the device, and communicators that wait for them."""
    world = World("crossan")
    steps = world.recorded(Tape())
    world.train(steps, range(1, 3))
    ended = weakref.ref(steps)
    gc.disable()
    try:
        del steps
        assert ended() is None
    finally:
        gc.enable()


def test_the_tape_repeats_operations_and_not_the_function():
    """What a graph would get wrong this gets wrong, or the tests above would say nothing."""
    kept, host = torch.zeros(2), {"number": 1.0}

    def step():
        kept.add_(torch.ones(2) * host["number"])

    replay = Tape().record(step)
    assert kept.tolist() == [0.0, 0.0]  # recorded, and not computed
    host["number"] = 9.0
    replay()
    replay()
    assert kept.tolist() == [2.0, 2.0]


@pytest.mark.parametrize(
    "step",
    [
        lambda numbers: numbers.nonzero(),
        lambda numbers: numbers[numbers > 1],
        lambda numbers: numbers.masked_select(numbers > 1),
        lambda numbers: numbers + torch.tensor(2.0),
    ],
)
def test_the_tape_refuses_what_a_graph_cannot_hold(step):
    with pytest.raises(CannotRecordError):
        Tape().record(partial(step, torch.arange(3.0)))


def test_the_tape_refuses_another_answer():
    numbers = torch.arange(3.0)
    replay = Tape().record(lambda: numbers.mul_(2) if numbers.sum() > 0 else None)
    replay()
    numbers.fill_(-1.0)
    with pytest.raises(CannotRecordError, match="answered True, and now False|answered 1"):
        replay()
