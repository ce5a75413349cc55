"""Workers answer in order; a file that crashes, hangs or gorges costs one item; nobody else pays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from crossan.cache_schema.errors import ResourceError
from crossan.cache_schema.modality import ItemStatus, Modality
from crossan.extract.workers import DecodeOrder, Limits, Stopped, WorkerPool
from support.misbehaving import Reader, Refusing
from support.processes import is_alive
from support.started import CEILING_S, wait_until

LIMITS = Limits(seconds=1.0, wall_seconds=10 * CEILING_S, memory_bytes=1 << 30)


def _orders(*names):
    return [DecodeOrder(Path("/media") / name, "digest", (Modality.IMAGE,)) for name in names]


def _read(pool, orders, ahead=4):
    return [answer[Modality.IMAGE] for answer in pool.read(orders, ahead)]


def _children():
    found = subprocess.run(
        ["pgrep", "-P", str(os.getpid())], capture_output=True, text=True, check=False
    )
    return set(found.stdout.split())


@pytest.fixture
def pool(tmp_path):
    """Return a pool of two workers, and see that it leaves no process behind."""
    before = _children()
    yield WorkerPool(Reader(tmp_path), 2, LIMITS)
    assert _children() <= before


def test_answers_come_in_the_order_of_the_orders_and_equal_those_read_here(tmp_path, pool):
    orders = _orders(*(f"{'slow' if number % 5 == 0 else 'fine'}-{number}" for number in range(20)))
    found = _read(pool, orders)
    alone = _read(WorkerPool(Reader(tmp_path), 0, LIMITS), orders)
    assert [one.inputs["values"].tolist() for one in found] == [
        one.inputs["values"].tolist() for one in alone
    ]
    assert [one.inputs["values"][0, 0] for one in found] == list(range(20))
    assert (pool.lost_count, pool.busy_seconds >= 4 * 0.2) == (0, True)


def test_states_reasons_and_notes_arrive():
    (found,) = _read(WorkerPool(Refusing(), 1, LIMITS), _orders("fine-1"))
    assert (found.status, found.reason, found.notes, found.inputs) == (
        ItemStatus.ABSENT,
        "nothing there: é漢",
        ("odd",),
        None,
    )


@pytest.mark.parametrize(
    ("verb", "reason", "deaths"),
    [
        ("crash", "crashed: the decoder ended with SIGABRT", 3),
        ("burn", "over-time: more than 1 s of computing", 1),
        ("hang", "over-time: no answer within 2 s", 1),
        ("gorge", "over-memory: more than 1,073,741,824 bytes", 1),
    ],
)
def test_a_file_that_ends_its_worker_costs_one_item(pool, tmp_path, verb, reason, deaths):
    if verb == "hang":
        pool = WorkerPool(Reader(tmp_path), 2, Limits(wall_seconds=2.0))
    found = _read(pool, _orders("fine-0", "fine-1", f"{verb}-2", "fine-3", "fine-4"))
    assert [one.status for one in found].count(ItemStatus.OK) == 4
    assert (found[2].status, found[2].reason) == (ItemStatus.QUARANTINED, reason)
    assert pool.lost_count == deaths


def test_an_item_whose_worker_was_killed_is_read_again(pool):
    found = _read(pool, _orders("fine-0", "killed-1", "fine-2", "killed-3"))
    assert [one.inputs["values"][0, 0] for one in found] == [0, 1, 2, 3]
    assert pool.lost_count == 2


def test_ctrl_c_and_sigterm_are_not_for_workers(pool):
    assert _read(pool, _orders("interrupted-1"))[0].status is ItemStatus.OK
    assert pool.lost_count == 0


def test_a_bug_ends_the_job_with_its_traceback(pool):
    with pytest.raises(RuntimeError, match="KeyError: 'a bug'"):
        _read(pool, _orders("fine-0", "bug-1", "fine-2"))


def test_a_worker_without_room_for_what_it_keeps_ends_the_job(pool):
    with pytest.raises(ResourceError, match="no space left") as caught:
        _read(pool, _orders("fine-0", "full-1"))
    assert (caught.value.exit_code, caught.value.remedy) == (6, "Free some.")


def test_a_consumer_that_stops_leaves_no_process_behind_even_when_a_worker_hangs(pool):
    answers = pool.read(_orders("fine-0", "hang-1", "hang-2", "fine-3"), 4)
    next(answers)
    answers.close()  # at once: their limit on the clock is beyond that of a test


def test_a_consumer_that_is_told_to_end_does_not_wait_for_a_worker_that_hangs(tmp_path):
    told = threading.Event()
    pool = WorkerPool(Reader(tmp_path), 1, LIMITS, told)
    answers = pool.read(_orders("fine-0", "hang-1"), 4)
    next(answers)
    threading.Timer(0.3, told.set).start()
    with pytest.raises(Stopped):
        next(answers)  # at once: its limit on the clock is beyond that of a test


def test_no_more_is_read_ahead_than_asked_for(tmp_path):
    asked = []

    def orders():
        for order in _orders(*(f"fine-{number}" for number in range(50))):
            asked.append(order)
            yield order

    answers = WorkerPool(Reader(tmp_path), 1, LIMITS).read(orders(), 5)
    for taken in range(1, 11):
        next(answers)
        assert len(asked) <= 5 + taken
    answers.close()


def test_a_reader_that_no_worker_can_load_ends_the_job(tmp_path):
    class Local(Reader):
        pass

    with pytest.raises((AttributeError, RuntimeError), match=r"Local"):
        _read(WorkerPool(Local(tmp_path), 1, LIMITS), _orders("fine-1"))


def test_workers_die_with_the_job(tmp_path):
    program = f"""
import sys
sys.path[:0] = {sys.path!r}
from pathlib import Path
from support.misbehaving import Reader
from crossan.cache_schema.errors import ResourceError
from crossan.cache_schema.modality import Modality
from crossan.extract.workers import Limits, DecodeOrder, WorkerPool
orders = [DecodeOrder(Path(f"/media/{{name}}"), None, (Modality.IMAGE,)) for name in ("fine-0", "hang-1", "hang-2", "hang-3")]
answers = WorkerPool(Reader(Path({str(tmp_path)!r})), 2, Limits()).read(orders, 4)
next(answers)
print("reading", flush=True)
next(answers)
"""
    job = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert job.stdout.readline() == "reading\n"
    found = subprocess.run(
        ["pgrep", "-P", str(job.pid)], capture_output=True, text=True, check=True
    )
    workers = found.stdout.split()
    assert len(workers) == 2
    os.kill(job.pid, signal.SIGKILL)
    job.wait()
    job.stdout.close()
    wait_until(lambda: not any(map(is_alive, workers)), "the end of the workers")
