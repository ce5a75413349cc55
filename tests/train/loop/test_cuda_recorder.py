"""What is queued on which stream, and what waits for what, without a card.

That graphs themselves repeat a step is for a machine with one.
"""

import inspect
from contextlib import contextmanager

import pytest
import torch

from crossan.cache_schema.errors import ResourceError
from crossan.train.loop import cuda_recorder
from crossan.train.loop.cuda_recorder import CudaRecorder
from crossan.train.ranks.ranks import RankLostError

_GRAPH = inspect.signature(torch.cuda.graph)


class Card:
    """Stands for `torch.cuda`, and writes down what is called."""

    def __init__(self):
        self.log, self.streams = [], []
        self.current = Stream(self, "default")

    def Stream(self, device):  # noqa: N802 - torch's name
        self.streams.append(Stream(self, ("steps", "copies")[len(self.streams)]))
        return self.streams[-1]

    def current_stream(self, device):
        return self.current

    @contextmanager
    def stream(self, stream):
        before, self.current = self.current, stream
        yield
        self.current = before

    def graph_pool_handle(self):
        return "pool"

    def CUDAGraph(self):  # noqa: N802 - torch's name
        return Graph(self)

    @contextmanager
    def graph(self, *arguments, **named):
        # As torch's own takes them.
        given = _GRAPH.bind(*arguments, **named).arguments
        del given["cuda_graph"]
        self.log.append(("capture", given))
        with self.stream(given["stream"]):
            yield


class Stream:
    def __init__(self, card, name):
        self.card, self.name, self.events = card, name, 0

    def wait_stream(self, other):
        self.card.log.append(f"{self.name} waits for {other.name}")

    def record_event(self):
        self.events += 1
        return Event(self.card, f"event {self.events} of {self.name}")


class Event:
    def __init__(self, card, name):
        self.card, self.name = card, name

    def synchronize(self):
        self.card.log.append(f"host waits for {self.name}")


class Graph:
    def __init__(self, card):
        self.card = card

    def replay(self):
        self.card.log.append(f"replay on {self.card.current.name}")


class States:
    """Stands for a tensor that was uploaded."""

    def __init__(self):
        self.used_on = []

    def record_stream(self, stream):
        self.used_on.append(stream.name)


@pytest.fixture
def card(monkeypatch):
    card = Card()
    for name in ("Stream", "current_stream", "stream", "graph_pool_handle", "CUDAGraph", "graph"):
        monkeypatch.setattr(cuda_recorder.torch.cuda, name, getattr(card, name))
    return card


@pytest.fixture
def recorder(card):
    made = CudaRecorder(torch.device("cuda"))
    # What was loaded for the uploads was loaded before.
    assert card.log == ["copies waits for default"]
    card.log.clear()
    return made


def test_steps_stand_between_all_else_that_is_queued(card, recorder):
    with recorder.in_order():
        card.log.append(f"step on {card.current.name}")
    assert card.log == ["steps waits for default", "step on steps", "default waits for steps"]


def test_a_recording_is_captured_where_steps_are_queued(card, recorder):
    """In the pool of all graphs, and so that the thread which prepares may allocate meanwhile."""
    with recorder.in_order():
        replay = recorder.record(lambda: card.log.append(f"step on {card.current.name}"))
        replay()
        replay()
    assert card.log[1:-1] == [
        (
            "capture",
            {"pool": "pool", "stream": card.streams[0], "capture_error_mode": "thread_local"},
        ),
        "step on steps",
        "replay on steps",
        "replay on steps",
    ]


def test_a_step_that_cannot_be_captured_is_refused_with_a_way_around(recorder):
    def step():
        raise RuntimeError("operation not permitted when stream is capturing\nmore lines")

    with pytest.raises(ResourceError, match="as a CUDA graph: operation not permitted") as caught:
        recorder.record(step)
    assert "capturing" in caught.value.message
    assert "more lines" not in caught.value.message
    assert caught.value.remedy.startswith("Add --no-recording")


def test_a_collective_that_cannot_be_captured_is_no_lost_rank(recorder):
    def step():
        try:
            raise RuntimeError("NCCL Error 3")
        except RuntimeError as error:
            raise RankLostError("another rank cannot be reached") from error

    with pytest.raises(ResourceError, match="as a CUDA graph: NCCL Error 3") as caught:
        recorder.record(step)
    assert type(caught.value) is ResourceError
    assert caught.value.remedy.startswith("Add --no-recording")


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("no room"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"),
    ],
)
def test_out_of_memory_stays_what_it_is(recorder, error):
    def step():
        raise error

    with pytest.raises(RuntimeError) as caught:
        recorder.record(step)
    assert caught.value is error


def test_an_upload_waits_for_the_last_step_but_one(card, recorder):
    uploaded = []

    def upload():
        card.log.append(f"upload on {card.current.name}")
        uploaded.extend([States(), States()])
        return [uploaded[-2]], uploaded[-1]

    for _ in range(3):
        recorder.ahead(upload)
    # The first event is passed before any step, the second after the first step, and so on: the
    # third upload begins when the first step is over, and while the second computes.
    assert card.log == [
        "upload on copies", "steps waits for copies",
        "host waits for event 1 of steps", "upload on copies", "steps waits for copies",
        "host waits for event 2 of steps", "upload on copies", "steps waits for copies",
    ]  # fmt: skip
    assert all(states.used_on == ["steps"] for states in uploaded)
