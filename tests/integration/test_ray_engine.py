"""``crossan-extract --engine ray`` on a real Ray cluster of two workers: the store of ``--engine local``, whatever is killed.

Most tests share a cluster that `ray start` made on the loopback interface; one
lets the command start its own. Every process is ended by its id.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from crossan.cache_schema.modality import Modality
from crossan.common.datasets import write_dataset
from crossan.common.stores import create_store, fsck, logical_digest, open_store, store_folder
from crossan.extract.backbones import load_backbone
from crossan.extract.job.canary import canary_features
from support.extraction import places
from support.processes import descendants
from support.ray_cluster import finish_job, workers_of
from support.started import PROGRAMS, start, wait_until

pytest.importorskip("ray", reason="--engine ray needs Ray: pip install 'crossan[ray]'")

ITEM_COUNT = 400
TASK_COUNT = 4  # of 128 items at most
BAD = {"i0007": "quarantined", "i0009": "missing"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("ray")


@pytest.fixture(scope="module")
def dataset(folder):
    """Four hundred items over eight pictures that take their time to decode; one is broken, one is not there."""
    shades = np.random.default_rng(0)
    for number in range(8):
        picture = shades.integers(0, 256, (640, 640, 3), dtype=np.uint8)
        Image.fromarray(picture).save(folder / f"p{number}.png", compress_level=1)
    (folder / "broken.png").write_bytes(b"not a picture")
    ids = [f"i{number:04d}" for number in range(ITEM_COUNT)]
    paths = [str(folder / f"p{number % 8}.png") for number in range(ITEM_COUNT)]
    paths[7], paths[9] = str(folder / "broken.png"), str(folder / "nowhere.png")
    nothing = pa.nulls(ITEM_COUNT, pa.string())
    interactions = {
        "user_id": ["u"] * ITEM_COUNT,
        "item_id": ids,
        "timestamp": pa.nulls(ITEM_COUNT, pa.int64()),
    }
    items = {"item_id": ids, "title": nothing, "image": paths, "video": nothing, "audio": nothing}
    write_dataset(
        folder / "d", name="many", source_format="table", licence="ours",
        interactions=pa.table(interactions), items=pa.table(items),
    )  # fmt: skip
    return folder / "d"


@pytest.fixture(scope="module")
def command(commands, dataset, tiny_backbones, ray_environment):
    """Return a function that starts the command with a cache and options."""

    def begin(cache, *options, is_forked=True):
        arguments = [
            "--modality",
            "image",
            *places(dataset, cache, tiny_backbones),
        ]
        arguments += ["--batch-size", "4", "--max-bad", "1%", "--json", *options]
        if is_forked:
            return commands.start("crossan-extract", *arguments, environment=ray_environment)
        return start(PROGRAMS / "crossan-extract", *arguments, env=ray_environment)

    return begin


@pytest.fixture(scope="module")
def digest(command, folder):
    """Return the logical digest that the local engine gives."""
    return logical_digest(open_store(_finish(command(folder / "local"))[0]["store"]))


def _finish(process, exit_code=0):
    result, said = finish_job(process, exit_code)
    return result and result["stores"][0], said


def _check_whole(reported, digest):
    opened = open_store(reported["store"])
    assert logical_digest(opened) == digest
    assert {status: reported[status] for status in ("ok", "absent", "missing", "quarantined")} == {
        "ok": ITEM_COUNT - 2, "absent": 0, "missing": 1, "quarantined": 1,
    }  # fmt: skip
    found = dict(zip(opened.item_ids.tolist(), opened.status.tolist(), strict=True))
    assert {item_id: status for item_id, status in found.items() if status != "ok"} == BAD
    line = json.loads((Path(reported["store"]) / "quarantine.jsonl").read_text())
    assert (line["item_id"], line["reason"]) == ("i0007", "unknown-container")
    segments = [
        json.loads(path.read_text())
        for path in Path(reported["store"]).glob("segments/*/segment.json")
    ]
    assert len(segments) == TASK_COUNT
    assert sum(segment["items"] for segment in segments) == ITEM_COUNT  # no item twice
    assert list((Path(reported["store"]) / "staging").iterdir()) == []
    assert fsck(reported["store"]).ok


def _wait_for_batches(process, cache):
    """Wait until a journal holds some batches; return the process that writes it."""
    writers = []

    def is_so():
        for log in cache.glob("*/*/*/staging/*/journal.log"):
            with contextlib.suppress(FileNotFoundError):
                owner = log.parent.name.split(".")[1]  # "free", or host-process-start
                if owner != "free" and log.stat().st_size > 8_000:
                    writers.append(int(owner.split("-")[1]))
        return writers

    wait_until(is_so, "a worker has journaled batches", process)
    return writers[0]


@pytest.mark.slow
@pytest.mark.exhaustive
def test_a_cluster_of_its_own_gives_the_store_of_the_local_engine(command, tmp_path, digest):
    reported, said = _finish(
        command(tmp_path / "c", "--engine", "ray", "--workers", "2", is_forked=False)
    )
    assert reported["forwarded"] == ITEM_COUNT - 2
    assert (
        f"extract image: {ITEM_COUNT} items in {TASK_COUNT} tasks for 2 workers of 1 cores and 0 GPUs"
        in said
    )
    assert "items, " in said  # the progress, from the second second on
    assert "raylet" not in said
    _check_whole(reported, digest)
    assert not list((tmp_path / "c").glob(".*"))


@pytest.mark.slow
@pytest.mark.exhaustive
def test_a_killed_worker_costs_nothing_but_time(command, idle_ray_cluster, tmp_path, digest):
    options, head = idle_ray_cluster
    process = command(tmp_path / "c", *options)
    worker = _wait_for_batches(process, tmp_path / "c")
    assert worker in descendants(head)
    os.kill(worker, signal.SIGKILL)
    reported, said = _finish(process)
    assert "a worker was lost over task " in said
    assert 0 < reported["forwarded"] < ITEM_COUNT - 2  # its successor went on from its journal
    _check_whole(reported, digest)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_an_interruption_keeps_what_is_done(command, idle_ray_cluster, tmp_path, digest):
    options, head = idle_ray_cluster
    for number, exit_code in [(signal.SIGINT, 130), (signal.SIGTERM, 143)]:
        process = command(tmp_path / "c", *options)
        _wait_for_batches(process, tmp_path / "c")
        process.send_signal(number)
        _, said = _finish(process, exit_code)
        assert "workers stop after their batch in hand" in said
        wait_until(lambda: not workers_of(head, "Worker"), "the workers have ended")
    reported, _ = _finish(command(tmp_path / "c", *options))
    assert (
        reported["forwarded"] < ITEM_COUNT - 2
    )  # none where the workers were quicker than the word to stop
    _check_whole(reported, digest)


@pytest.mark.slow
def test_an_error_in_a_worker_is_the_same_error_here(
    command, idle_ray_cluster, tmp_path, tiny_backbones
):
    encoder = load_backbone(Modality.IMAGE, str(tiny_backbones / "image"))
    identity = encoder.identity("float16", "raw")
    folder = store_folder(tmp_path / "c", "many", identity)
    create_store(folder, identity, canary_features(encoder) * 2)
    _, said = _finish(command(tmp_path / "c", *idle_ray_cluster[0]), 5)
    assert "IncompatibleError: store " in said
    assert "canary mismatch" in said
    assert "RayTaskError" not in said


@pytest.mark.parametrize(
    ("options", "exit_code", "message"),
    [
        (["--shard", "1/2"], 2, "--shard 1/2 --engine ray: the cluster gets the whole job"),
        (["--gpus-per-worker", "64"], 6, "expected a node with a core and 64 GPUs for a worker, found 2 cores"),
    ],
)  # fmt: skip
def test_what_does_not_fit_a_cluster_is_refused(
    command, ray_cluster, tmp_path, options, exit_code, message
):
    _, said = _finish(command(tmp_path / "c", *ray_cluster[0], *options), exit_code)
    assert message in said


def test_a_cluster_that_does_not_answer_is_named(command, tmp_path):
    with socket.socket() as taken:  # and nobody listens there
        taken.bind(("127.0.0.1", 0))
        free = f"127.0.0.1:{taken.getsockname()[1]}"
        _, said = _finish(command(tmp_path / "c", "--engine", "ray", "--address", free), 8)
    assert (
        f"RemoteError: --address {free}: no Ray cluster answers: [Errno 111] Connection refused"
        in said
    )
