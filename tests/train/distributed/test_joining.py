"""How a process learns from its environment that it is a rank."""

from __future__ import annotations

import sys

import pytest

from crossan.cache_schema.errors import UsageError
from crossan.train.distributed.joining import _device_of, joined, silent_unless_first
from crossan.train.distributed.ranks import ALONE


@pytest.fixture(autouse=True)
def no_ranks(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("count", [None, "", "1"])
def test_one_process_is_alone_on_the_device_it_was_given(monkeypatch, count):
    if count is not None:
        monkeypatch.setenv("WORLD_SIZE", count)
    with joined("cuda:3") as place:
        assert (place.ranks, place.device) == (ALONE, "cuda:3")


def test_half_an_environment_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(UsageError, match="WORLD_SIZE=2: expected MASTER_ADDR, MASTER_PORT beside it, found none"):
        joined("cpu").__enter__()


@pytest.mark.parametrize(("rank", "heard"), [("0", "result\nnote\n"), ("1", "")])
def test_only_the_first_rank_speaks(monkeypatch, capsys, rank, heard):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", rank)
    with silent_unless_first():
        print("result")
        print("note", file=sys.stderr)
    said = capsys.readouterr()
    assert said.out + said.err == heard


@pytest.mark.parametrize(
    ("asked", "local", "there", "device"),
    [
        ("auto", 1, 0, "cpu"),
        ("cpu", 1, 8, "cpu"),
        ("auto", 1, 2, "cuda:1"),
        ("cuda", 0, 2, "cuda:0"),
    ],
)
def test_a_rank_takes_the_accelerator_of_its_number(monkeypatch, asked, local, there, device):
    monkeypatch.setattr("torch.cuda.device_count", lambda: there)
    assert _device_of(asked, local) == device


@pytest.mark.parametrize(
    ("asked", "local", "there", "message"),
    [
        ("cuda:1", 0, 2, "--device cuda:1: expected auto, cpu or cuda where there are several ranks"),
        ("auto", 2, 2, r"LOCAL_RANK=2: expected a device for each rank of this machine, found 2\n  torchrun --nproc-per-node 2,"),
        ("cuda", 0, 0, "LOCAL_RANK=0: expected a device for each rank of this machine, found 0"),
    ],
)  # fmt: skip
def test_devices_that_cannot_be_shared_are_refused(monkeypatch, asked, local, there, message):
    monkeypatch.setattr("torch.cuda.device_count", lambda: there)
    with pytest.raises(UsageError, match=message):
        _device_of(asked, local)
