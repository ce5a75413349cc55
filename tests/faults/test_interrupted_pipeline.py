"""Kill the processes of an extraction, or tell them to stop, at any moment: no item is lost, none is done twice.

``CROSSAN_FAULTS=full`` does each 50 times, otherwise twice. A test that meets
no process to kill in most of its runs fails.
"""

from __future__ import annotations

import os
import random
import signal
import time

import pytest

from crossan.common.stores import logical_digest, open_store
from support.extraction import Extraction, row_count, write_items
from support.hostile.sources import write_video
from support.processes import command_line, descendants, is_alive, open_files
from support.started import wait_until

IS_FULL = os.environ.get("CROSSAN_FAULTS") == "full"
ROUNDS = 50 if IS_FULL else 2
ITEM_COUNT = 48
BROKEN, LONG = 7, 23
"""The numbers of an item that cannot be read, and of one that takes many times longer than the others."""
LONGEST_GOODBYE_S = 10
"""Less than it takes to wait for the long item."""


@pytest.fixture(scope="module")
def extraction(commands, tiny_backbones, tmp_path_factory):
    folder = tmp_path_factory.mktemp("interrupted")
    item_ids = [f"item{number:03d}" for number in range(ITEM_COUNT)]
    dataset = write_items(
        folder / "d", [{"item_id": one, "video": str(folder / f"{one}.mp4")} for one in item_ids]
    )
    for number, item_id in enumerate(item_ids):
        frame_count = 3_000 if number == LONG else 12 + number % 5
        video = write_video("mpeg4", frame_count=frame_count, rate=1_000 if number == LONG else 4)
        (folder / f"{item_id}.mp4").write_bytes(b"no video" if number == BROKEN else video)
    arguments = [
        "--modality",
        "video",
        "--dataset",
        dataset,
        "--backbone",
        tiny_backbones,
    ]
    made = Extraction(commands, [*arguments, "--batch-size", 4, "--num-workers", 2], item_ids)
    made.folder = folder
    return made


@pytest.fixture(scope="module")
def uninterrupted(extraction, tmp_path_factory):
    """Return the logical digest of an uninterrupted run, and for how many seconds it had processes of its own."""
    process = extraction.begin(tmp_path_factory.mktemp("warm"))
    wait_for_workers(process, 0)
    begun = time.monotonic()
    while descendants(process):
        time.sleep(0.002)
    seconds = time.monotonic() - begun
    assert extraction.end() == 0, extraction.output()
    store = extraction.finish(tmp_path_factory.mktemp("whole"))
    digest = logical_digest(open_store(store["store"]))
    extraction.check_whole(store, digest)
    return digest, seconds


def check_resumed(extraction, cache, digest):
    """The same command ends in the store of an uninterrupted run, with every item in it once."""
    extraction.check_whole(extraction.finish(cache), digest)
    assert row_count(cache) == ITEM_COUNT


def wait_for_workers(process, seconds):
    """Wait until the command has processes of its own, then for ``seconds``; return those it has then."""
    wait_until(
        lambda: not is_alive(process) or descendants(process),
        "the command has processes",
        pause=0.002,
    )
    time.sleep(seconds)
    return descendants(process)


def send_signal(process, number):
    """Send a signal; return whether the process was still there."""
    try:
        os.kill(process, number)
    except ProcessLookupError:
        return False
    return True


def check_all_gone(processes):
    wait_until(
        lambda: not any(map(is_alive, processes)),
        f"the end of {[command_line(process) for process in processes]}",
        seconds=LONGEST_GOODBYE_S,
    )


@pytest.mark.timeout(7200)
@pytest.mark.exhaustive
def test_a_killed_worker_costs_nothing(extraction, uninterrupted, tmp_path):
    digest, seconds = uninterrupted
    moments = random.Random(2)
    hits = 0
    for number in range(5 * ROUNDS):
        cache = tmp_path / f"cache{number}"
        process = extraction.begin(cache)
        workers = wait_for_workers(process, moments.uniform(0, 1) * seconds)
        for worker in moments.sample(workers, moments.randint(1, len(workers))) if workers else []:
            send_signal(worker, signal.SIGKILL)
        assert extraction.end() == 0, extraction.output()
        if not workers:
            continue
        hits += 1
        check_resumed(extraction, cache, digest)
        check_all_gone(workers)
        if hits == ROUNDS:
            break
    assert hits == ROUNDS, "most runs had no worker to kill"


@pytest.mark.timeout(7200)
def test_no_process_outlives_a_killed_command(extraction, uninterrupted, tmp_path):
    digest, seconds = uninterrupted
    moments = random.Random(3)
    hits = 0
    for number in range(5 * ROUNDS):
        cache = tmp_path / f"cache{number // 3}"
        process = extraction.begin(cache)
        workers = wait_for_workers(process, moments.uniform(0, 1) * seconds)
        workers = sorted({*workers, *descendants(process)})
        os.kill(process, signal.SIGKILL)
        hits += extraction.end() == -signal.SIGKILL and bool(workers)
        check_all_gone(workers)
        if hits == ROUNDS:
            break
    assert hits == ROUNDS, "most runs had no worker to leave behind"
    for cache in sorted(tmp_path.glob("cache*")):
        check_resumed(extraction, cache, digest)


@pytest.mark.timeout(7200)
@pytest.mark.parametrize(
    "is_to_all",
    [
        pytest.param(False, id="the command"),
        pytest.param(True, id="all processes", marks=pytest.mark.exhaustive),
    ],
)
@pytest.mark.parametrize(
    ("number", "exit_code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["term", "int"]
)
def test_a_signal_ends_the_command_with_its_exit_code(
    extraction, uninterrupted, tmp_path, number, exit_code, is_to_all
):
    """A batch system signals the command alone or all that it started; a terminal, the whole group."""
    digest, seconds = uninterrupted
    moments = random.Random(exit_code + is_to_all)
    codes = []
    for attempt in range(5 * ROUNDS):
        cache = tmp_path / f"cache{attempt}"
        process = extraction.begin(cache)
        workers = wait_for_workers(process, moments.uniform(0, 1) * seconds)
        for one in [process, *(descendants(process) if is_to_all else [])]:
            send_signal(one, number)
        codes.append(extraction.end())
        check_all_gone(workers)
        check_committed(cache)
        check_resumed(extraction, cache, digest)
        if codes.count(exit_code) == ROUNDS // 2:
            break
    assert set(codes) <= {0, exit_code}, extraction.output()
    assert codes.count(exit_code) == ROUNDS // 2, "most runs ended before the signal"


def check_committed(cache):
    """No batch waits in a journal: what was done is in a version."""
    waiting = [log for log in cache.glob("*/*/*/staging/*/journal.log") if log.stat().st_size]
    assert waiting == []


@pytest.mark.timeout(7200)
def test_an_item_that_ends_every_worker_is_the_only_one_lost(extraction, uninterrupted, tmp_path):
    victim = str(extraction.folder / f"item{LONG:03d}.mp4")
    process = extraction.begin(tmp_path / "c")
    killed = 0
    while is_alive(process):
        for worker in descendants(process):
            if victim in open_files(worker):
                killed += send_signal(worker, signal.SIGKILL)
    assert extraction.end() == 0, extraction.output()
    assert killed > 1, "a worker's death is expected to be forgiven once"
    (store,) = (tmp_path / "c").glob("made-up/video/*")
    opened = open_store(store)
    reasons = {
        item: (reason or "").partition(":")[0]
        for item, reason in zip(opened.item_ids, opened.reasons, strict=True)
    }
    assert {str(item): reason for item, reason in reasons.items() if reason} == {
        f"item{BROKEN:03d}": "unknown-container",
        f"item{LONG:03d}": "crashed",
    }
    extraction.check_whole(
        extraction.finish(tmp_path / "c"), uninterrupted[0]
    )  # the next run tries it again
