"""How a process learns from its environment that it is a rank."""

from __future__ import annotations

import socket
import subprocess
import sys
from datetime import timedelta

import pytest

from crossan.cache_schema.errors import UsageError
from crossan.train.ranks.joining import _device_of, _ending_together, joined, silent_unless_first
from crossan.train.ranks.ranks import ALONE, RankLostError


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
    with pytest.raises(
        UsageError, match="WORLD_SIZE=2: expected MASTER_ADDR, MASTER_PORT as well, found none"
    ):
        joined("cpu").__enter__()


@pytest.fixture
def rendezvous_at(monkeypatch):
    """Have a rank of two meet the other at a port of this machine, for a second at most."""
    monkeypatch.setattr("crossan.train.ranks.joining.MOST_WAITING", timedelta(seconds=1))

    def meet(rank, port):
        for name, value in {
            "WORLD_SIZE": "2",
            "RANK": rank,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
        }.items():
            monkeypatch.setenv(name, str(value))
        joined("cpu").__enter__()

    return meet


def test_a_port_in_use_is_named(rendezvous_at):
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        message = rf"rank 0 cannot meet the others at MASTER_ADDR:MASTER_PORT, 127.0.0.1:{port}: .*address already in use"
        with pytest.raises(
            RankLostError, match=rf"{message}\n  Start all 2 ranks with one MASTER_ADDR"
        ) as lost:
            rendezvous_at(0, port)
    assert lost.value.exit_code == 6


def test_a_rank_that_finds_nobody_says_where_it_looked(rendezvous_at):
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(
        RankLostError, match=rf"rank 1 cannot meet the others at .*, 127.0.0.1:{port}: .*timed out"
    ):
        rendezvous_at(1, port)


@pytest.mark.parametrize(("rank", "port"), [("one", 29500), (0, "none"), (0, 99999)])
def test_no_number_where_one_belongs_is_a_usage_error(rendezvous_at, rank, port):
    with pytest.raises(
        UsageError,
        match=f"RANK={rank}, .*:{port}: expected the number of a rank and that of a port",
    ):
        rendezvous_at(rank, port)


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


class Store(dict):
    """One of torch's stores, in one process; ``is_gone`` where its host is."""

    is_gone = False

    def add(self, key, amount):
        if self.is_gone:
            raise RuntimeError("connection refused")
        self[key] = self.get(key, 0) + amount
        return self[key]


def end(store, number, error):
    with pytest.raises(SystemExit) as stopped, _ending_together(store, number, 1):
        raise error
    return stopped.value.code


def test_an_error_is_printed_by_the_first_rank_that_meets_it(capfd):
    store = Store()
    assert end(store, 1, UsageError("no such thing")) == 2
    assert capfd.readouterr().err == "rank 1: UsageError: no such thing\n"
    assert end(store, 0, UsageError("no such thing")) == 2
    assert capfd.readouterr().err == ""
    assert end(store, 0, UsageError("another thing")) == 2
    assert capfd.readouterr().err == "UsageError: another thing\n"


def test_whom_a_rank_has_lost_is_said_once_in_whatever_words(capfd):
    store = Store()
    assert [end(store, number, RankLostError(f"peer {1 - number}")) for number in (1, 0)] == [6, 6]
    assert capfd.readouterr().err == "rank 1: RankLostError: peer 0\n"


def test_without_the_stores_host_every_rank_speaks(capfd):
    store = Store()
    store.is_gone = True
    assert [end(store, number, UsageError("no such thing")) for number in (0, 1)] == [2, 2]
    assert (
        capfd.readouterr().err == "UsageError: no such thing\nrank 1: UsageError: no such thing\n"
    )


def test_a_rank_told_to_end_waits_for_the_others_but_not_for_long(monkeypatch):
    store = Store(told=1)
    with pytest.raises(SystemExit), _ending_together(store, 1, 2):
        raise SystemExit(143)
    assert store == {"told": 2}  # it looked once: the other one had come
    monkeypatch.setattr("crossan.train.ranks.joining._SECONDS_TO_END", 0.0)
    with pytest.raises(KeyboardInterrupt), _ending_together(Store(), 0, 2):
        raise KeyboardInterrupt


_ITS_LAST_THREADS = """
import torch, torch.distributed as dist
from pathlib import Path
from crossan.train.ranks.joining import process_group

def gloo():
    return [name for path in Path("/proc/self/task").glob("*/comm") if "gloo" in (name := path.read_text().strip())]

with process_group(dist.HashStore(), 0, 1, "cpu"):
    torch.optim.AdamW([torch.zeros(1)], fused=True)
    print(len(gloo()) > 0)
print(gloo())
"""


@pytest.mark.slow
def test_a_group_that_has_ended_leaves_no_threads():
    """An interpreter that ends beside gloo's threads aborts now and then, and with it the whole training."""
    out = subprocess.check_output([sys.executable, "-c", _ITS_LAST_THREADS], text=True)
    assert out == "True\n[]\n"
