"""What waits for what while batches are carried to a device and back, without a device."""

from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from crossan.cache_schema.modality import Modality
from crossan.extract.backbones import cuda_carrier, load_backbone
from crossan.extract.backbones.batches import Batch
from crossan.extract.backbones.carrier import HostCarrier, carrier_of
from crossan.extract.backbones.cuda_carrier import CudaCarrier

CPU = torch.device("cpu")


class Card:
    """Stands for torch with a CUDA device, and knows of everything queued what it must come after.

    Each stream counts what is queued on it. An entry of the log has the counts, by stream, of all
    that is over when it begins: that of its own stream before it, and that of events it waited for.
    """

    def __init__(self):
        self.log = {}
        self.current = Stream(self, "forwards")
        self.names = iter(("uploads", "downloads"))
        self.cuda = SimpleNamespace(
            Stream=lambda device: Stream(self, next(self.names)),
            Event=Event,
            stream=self._within,
            current_stream=lambda device: self.current,
        )

    @contextmanager
    def _within(self, stream):
        before, self.current = self.current, stream
        yield
        self.current = before

    def empty(self, shape, dtype, pin_memory):
        assert pin_memory  # the device copies from no other memory by itself
        return Host(self)

    def queue(self, what):
        self.log[what] = self.current.advance()

    def is_before(self, first, second):
        """Return whether the device cannot begin the second before the first is over."""
        stream, number = self.log[first]["at"]
        return self.log[second]["after"].get(stream, 0) >= number


class Stream:
    def __init__(self, card, name):
        self.card, self.name, self.after = card, name, {}

    def advance(self):
        number = self.after.get(self.name, 0) + 1
        entry = {"at": (self.name, number), "after": dict(self.after)}
        self.after[self.name] = number
        return entry

    def record_event(self, event=None):
        event = event or Event()
        event.after, event.card = dict(self.after), self.card
        return event

    def wait_event(self, event):
        for name, number in event.after.items():
            self.after[name] = max(self.after.get(name, 0), number)


class Event:
    def __init__(self, enable_timing=False, blocking=False):
        self.is_timed, self.is_blocking = enable_timing, blocking

    def synchronize(self):
        assert self.is_blocking  # a waiting thread leaves its core to the decoders
        self.card.log["host"] = {"after": self.after}

    def elapsed_time(self, other):
        assert self.is_timed
        assert other.is_timed
        # A millisecond for each entry of the stream between the two.
        return float(other.after["forwards"] - self.after.get("forwards", 0))


class Memory:
    """Stands for a tensor: the streams that its memory is kept for, and what is done with it."""

    shape, dtype = (2, 3, 4), "float32"

    def __init__(self, stream):
        self.kept_for = {stream.name}

    def record_stream(self, stream):
        self.kept_for.add(stream.name)


class Host:
    def __init__(self, card):
        self.card = card

    def copy_(self, states, non_blocking):
        assert non_blocking
        self.card.queue(f"fetch {states.number}")

    def numpy(self):
        return "numbers"


@pytest.fixture
def card(monkeypatch):
    card = Card()
    monkeypatch.setattr(cuda_carrier, "torch", card)
    return card


def carry(card, carrier, number):
    """Carry one batch, and return what was launched and the memory that it read and made."""
    batch, states = Batch({}, is_padded=False), []

    def upload():
        batch.tensors["x"] = Memory(card.current)
        card.queue(f"copy {number}")
        return batch

    def compute():
        assert batch.tensors["x"].kept_for == {"uploads", "forwards"}
        states.append(Memory(card.current))
        states[0].number = number
        card.queue(f"forward {number}")
        return states[0]

    launched = carrier.forward(compute) if carrier.ahead(upload) is batch else None
    return launched, batch.tensors["x"], states[0]


def test_a_forward_follows_its_own_copy_and_is_followed_by_its_own_fetch(card):
    carrier = CudaCarrier("cuda")
    for number in range(3):
        carry(card, carrier, number)
    for number in range(3):
        assert card.is_before(f"copy {number}", f"forward {number}")
        assert card.is_before(f"forward {number}", f"fetch {number}")


def test_neither_copy_holds_up_or_waits_for_another_batchs_forward(card):
    carrier = CudaCarrier("cuda")
    for number in range(3):
        carry(card, carrier, number)
    for number in range(2):
        assert not card.is_before(f"forward {number}", f"copy {number + 1}")
        assert not card.is_before(f"fetch {number}", f"copy {number + 1}")
        assert not card.is_before(f"fetch {number}", f"forward {number + 1}")
        # While batches and states come in their order.
        assert card.is_before(f"forward {number}", f"forward {number + 1}")
        assert card.is_before(f"fetch {number}", f"fetch {number + 1}")


def test_memory_is_kept_for_whoever_still_reads_it(card):
    """For the batch `carry` sees to it before the forward is queued."""
    _, inputs, states = carry(card, CudaCarrier("cuda"), 0)
    assert inputs.kept_for == {"uploads", "forwards"}
    assert states.kept_for == {"forwards", "downloads"}


def test_launching_waits_for_nothing_and_fetching_for_its_own_batch_alone(card):
    carrier = CudaCarrier("cuda")
    first, *_ = carry(card, carrier, 0)
    carry(card, carrier, 1)
    assert "host" not in card.log
    assert first() == "numbers"
    assert card.is_before("fetch 0", "host")
    assert not card.is_before("forward 1", "host")


def test_the_seconds_are_those_between_copy_and_states(card):
    carrier = CudaCarrier("cuda")
    assert [carry(card, carrier, number)[0].seconds() for number in range(3)] == [1e-3] * 3


def test_on_the_cpu_the_result_is_there_and_the_time_is_the_threads():
    carrier = carrier_of(CPU)
    assert isinstance(carrier, HostCarrier)
    batch = Batch({"x": torch.arange(6.0).view(2, 3)}, is_padded=False)
    assert carrier.ahead(lambda: batch) is batch
    times = iter((2.0, 2.5))
    carrier._clock = lambda: next(times)
    launched = carrier.forward(lambda: 2 * batch.tensors["x"])
    batch.tensors["x"].zero_()
    assert (launched().tolist(), launched.seconds()) == ([[0, 2, 4], [6, 8, 10]], 0.5)


def test_the_seam_changes_no_number(tiny_backbones):
    backbone = load_backbone(Modality.IMAGE, str(tiny_backbones / "image"), device="cpu")
    pictures = [np.full((40, 40, 3), grey, np.uint8) for grey in (0, 90, 200)]
    batch = [backbone.prepare(picture) for picture in pictures]
    inputs, _ = backbone.model_inputs(batch)
    with torch.inference_mode():
        plain = backbone.model(**inputs, output_hidden_states=True).hidden_states
    expected = torch.stack([plain[layer][:, 0] for layer in backbone.layers], dim=1)
    assert np.array_equal(backbone.begin(batch)(), expected.numpy())
