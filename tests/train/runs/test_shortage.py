"""Memory that runs out in the middle of a command: exit 6, what was done, and what to do."""

import json
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crossan.cache_schema.errors import ResourceError
from crossan.train.cli import evaluate, recommend, train
from crossan.train.layers.sequence_encoder import SequenceEncoder
from crossan.train.models.item_encoder import ItemEncoder
from crossan.train.runs import shortage as shortage_of_memory
from crossan.train.runs.peak_memory import PeakMemory
from crossan.train.settings import RunSettings
from support.commands import attempt, run, train_in, training
from support.fabricated import write_small
from support.outcomes import outcome

SETTINGS = (
    "model.bottleneck_dim=8",
    "model.width=16",
    "batch_size=32",
    "max_epochs=2",
    "patience=5",
    "checkpoint.every_seconds=0",
)
CUDA = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nand more")
ON_CPU = RuntimeError(
    "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"
)
STEPS = 5  # 150 users by 32


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = write_small(tmp_path_factory.mktemp("shortage"))
    train_in(place, SETTINGS, out="whole")
    return place


def failing(monkeypatch, owner, name, when, error):
    """Have the call of a method for which ``when`` holds raise an error, once; counted from 1."""
    method, calls = getattr(owner, name), []

    def call(self, *args):
        calls.append(self)
        if when(len(calls), self) and not getattr(error, "was_raised", False):
            error.was_raised = True
            raise error
        return method(self, *args)

    error.was_raised = False
    monkeypatch.setattr(owner, name, call)


def shortage(place, out, *more):
    result = attempt(train, *training(place, SETTINGS, *more, out=out))
    assert isinstance(result.exception, ResourceError)
    assert result.exception.exit_code == 6
    return result.exception


@pytest.mark.parametrize("error", [CUDA, ON_CPU, MemoryError("Unable to allocate 2.00 GiB")])
def test_a_step_that_does_not_fit_leaves_the_last_checkpoint(place, tmp_path, monkeypatch, error):
    with monkeypatch.context() as injected:
        failing(injected, SequenceEncoder, "packed", lambda number, _: number == 4, error)
        raised = shortage(place, tmp_path / "r")
    first, *details = raised.message.splitlines()
    assert first == f"out of memory in a step of 32 users on cpu: {str(error).splitlines()[0]}"
    assert re.fullmatch(r"  predicted: .* at the peak: .*", details[0])
    assert re.fullmatch(r"  free for this process: [\d.]+ .iB", details[1])
    assert raised.remedy.startswith("Begin another run with --set batch_size=16")
    run(train, *training(place, SETTINGS, "--resume", out=tmp_path / "r"))
    assert outcome(tmp_path / "r") == outcome(place / "whole")


def test_items_that_cannot_be_encoded(place, tmp_path, monkeypatch):
    failing(monkeypatch, ItemEncoder, "forward", lambda _, encoder: not encoder.training, CUDA)
    assert shortage(place, tmp_path / "r").message.startswith(
        "out of memory in encoding the items on cpu: CUDA out of memory."
    )


def test_users_that_cannot_be_validated(place, tmp_path, monkeypatch):
    failing(monkeypatch, SequenceEncoder, "last", lambda _, encoder: not encoder.training, CUDA)
    assert shortage(place, tmp_path / "r").message.startswith(
        "out of memory in a validation on cpu: CUDA out of memory."
    )


def test_an_evaluation_and_a_recommendation(place, monkeypatch):
    for doing, command, arguments in (
        ("the ranking of all users", evaluate, ("--json",)),
        ("a recommendation", recommend, ("--user", "u001")),
    ):
        with monkeypatch.context() as injected:
            failing(injected, SequenceEncoder, "last", lambda number, _: number == 1, CUDA)
            result = attempt(command, place / "whole", *arguments)
        assert isinstance(result.exception, ResourceError)
        assert result.exception.message.startswith(f"out of memory in {doing} on cpu: CUDA out")
        assert result.exception.remedy == (
            "Run the same command with --residence streamed --max-ram SIZE"
            " (crossan-train: and --resume)"
        )


@given(
    st.sampled_from([
        {"kind": "crossan"}, {"kind": "crossan", "bottleneck_dim": 1},
        {"kind": "crossan", "compute": "bfloat16"}, {"kind": "iisan"}, {"kind": "frozen"},
        {"kind": "sasrec"}, {"kind": "vbpr"}, {"kind": "popularity"},
    ]),
    st.integers(1, 4), st.integers(0, 9), st.integers(0, 9), st.integers(0, 9),
)  # fmt: skip
def test_what_is_proposed_is_less_than_what_was_tried(model, batch, features, optimiser, step):
    """Mebibytes, of which 10 are there."""
    settings = RunSettings.model_validate({"data": {"dataset": "d"}, "model": model})
    settings = settings.model_copy(update={"batch_size": batch})
    sizes = [size << 20 for size in (features, 0, optimiser, step, 0)]
    peak = PeakMemory(*sizes, batch="", is_on_cpu=True)
    place = SimpleNamespace(path="r r")
    tried = SimpleNamespace(settings=settings, device=torch.device("cpu"), folder=place)
    remedy = shortage_of_memory._Again(tried, 10 << 20, peak).remedy()
    if remedy is None:
        assert batch == 1 or model["kind"] == "popularity"
        return
    again, _, anew = remedy.partition("egin another run with ")
    for assignment in anew.split("--set ")[1:]:
        name, _, value = assignment.strip().partition("=")
        *model_of, name = name.split(".")
        before = getattr(settings.model if model_of else settings, name)
        assert (before, value) == ("float32", "bfloat16") or 1 <= int(value) < before
    if "--max-ram" in again:
        left = int(re.search(r"--max-ram (\d+)MiB", again)[1])
        assert again.startswith("Go on with crossan-train --config 'r r'/config.toml --out 'r r'")
        assert 0 < left < features
        assert left + optimiser + step < 10


def test_another_error_is_a_bug(place, tmp_path, monkeypatch):
    failing(
        monkeypatch, SequenceEncoder, "packed", lambda number, _: number == 2, RuntimeError("odd")
    )
    result = attempt(train, *training(place, SETTINGS, out=tmp_path / "r"))
    assert repr(result.exception) == "RuntimeError('odd')"


def test_the_program_ends_with_6_and_no_traceback(place, tmp_path):
    program = (
        "import sys, torch; from crossan.train.layers.sequence_encoder import SequenceEncoder\n"
        "def fail(*args): raise torch.OutOfMemoryError('CUDA out of memory.')\n"
        "SequenceEncoder.packed = fail\n"
        "from crossan.train.cli import main; main()"
    )
    arguments = [str(each) for each in training(place, SETTINGS, out=tmp_path / "r")]
    ended = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True
    )
    assert ended.returncode == 6
    assert "Traceback" not in ended.stderr
    assert "ResourceError: out of memory in a step of 32 users on cpu: CUDA" in ended.stderr


def test_what_was_predicted_is_recorded_where_it_is_asked_for(place, tmp_path):
    result = train_in(place, SETTINGS, "--predict-memory", out=tmp_path / "r")
    recorded = json.loads((tmp_path / "r/result.json").read_text())
    assert "memory: " in result.stderr
    assert recorded["predicted_memory_bytes"] > 100 << 20
    assert "predicted_memory_bytes" not in json.loads((place / "whole/result.json").read_text())
