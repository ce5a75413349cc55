"""Recommendations of a served model: milliseconds at the socket and over HTTP.

The run is fabricated: a SASRec of width 64 with random vectors, on users who between them had every
item. All else is the product: the run is registered and promoted, and `crossan serve` answers.
Beside it, in this process, one `torch.mv` over as many vectors and one `topk`, which is the least that
an exact answer takes.

    python tests/benchmarks/bench_recommend.py --items 20000
    python tests/benchmarks/bench_recommend.py --items 1000000
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import torch

sys.path.append(str(Path(__file__).parents[1]))

from crossan.common.datasets import keep_sequences, open_dataset, write_dataset
from crossan.train.features import Placement
from crossan.train.features.sources import Served
from crossan.train.record.catalogue_lock import settle_catalogue
from crossan.train.record.checkpoint import Checkpoint, save_checkpoint
from crossan.train.record.dataset_lock import sequence_facts, settle_sequences
from crossan.train.record.run_folder import RunFolder
from crossan.train.record.spec import current_spec
from crossan.train.runs.opening import assemble
from crossan.train.service.database import Database
from crossan.train.service.folder import ServiceFolder
from crossan.train.service.recommender.wire import receive, send
from crossan.train.service.registry import Registry
from crossan.train.settings import DataSettings, RunSettings, SasrecSettings
from support.finished_runs import write_run
from support.registered import a_row

PER_USER = 13
WIDTH = 64


def write_data(folder: Path, item_count: int) -> int:
    """Write a dataset in which every item is in a kept sequence; return the number of users."""
    user_count = -(-item_count // 10)
    shuffled = np.random.default_rng(0).permutation(item_count)
    items = np.resize(shuffled, user_count * PER_USER)
    item_ids = [f"i{number:07d}" for number in range(item_count)]
    write_dataset(
        folder,
        name="shop",
        source_format="made up",
        licence="none",
        interactions=pa.table(
            {
                "user_id": [f"u{number // PER_USER:07d}" for number in range(len(items))],
                "item_id": [item_ids[item] for item in items],
                "timestamp": [number % PER_USER for number in range(len(items))],
            }
        ),
        items=pa.table(
            {
                "item_id": item_ids,
                "title": [f"a title of middling length, the {item} th" for item in item_ids],
                **{name: pa.nulls(item_count, pa.string()) for name in ("image", "video", "audio")},
            }
        ),
    )
    return user_count


def write_trained(path: Path, dataset: Path) -> None:
    """Write a finished run of random weights."""
    settings = RunSettings(
        data=DataSettings(dataset=str(dataset), max_items=PER_USER),
        model=SasrecSettings(width=WIDTH),
    )
    write_run(path / "figures", [1, 2, 3, 30])
    run, device = RunFolder(path / "run"), torch.device("cpu")
    run.begin(settings, current_spec(device, torch.float32), may_resume=False)
    opened = open_dataset(dataset)
    kept = keep_sequences(opened.interactions(), max_items=PER_USER)
    run.lock_stores({}, {})
    settle_catalogue(run.path, kept.item_ids, "")
    settle_sequences(run.path, sequence_facts(kept), "")
    assembled = assemble(
        settings, run, opened, (Served(kept, {}), {}), device, Placement(), is_training=False
    )
    weights = assembled.model.state_dict()
    # Of the scale of trained vectors, so that scores differ.
    weights["id_embedding.weight"] = torch.randn(weights["id_embedding.weight"].shape)
    save_checkpoint(run.path / "checkpoints", "best", Checkpoint({"model": weights}, {"epoch": 2}))
    for name in ("result.json", "eval"):
        (path / "figures" / name).rename(run.path / name)
    run.release()


class Server:
    """``crossan serve`` with the run in production."""

    def __init__(self, folder: Path) -> None:
        data = ServiceFolder(folder / "service")
        data.path.mkdir()
        database = Database(data.database)
        registry = Registry(database, data)
        model = registry.register(folder / "run", None, a_row(database, "shop"), "bench")
        registry.promote("production", model.version, 0, "bench")
        database.close()
        command = [Path(sys.executable).parent / "crossan", "serve", "--data", data.path, "--json"]
        command += ["--root", folder, "--cache", folder / "cache", "--port", "0"]
        command += ["--set", "http.requests_per_second=1000000", "--set", "http.burst=1000000"]
        begin = time.perf_counter()
        with (folder / "log").open("w") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self.process.stdout is not None
        printed = json.loads(self.process.stdout.readline())
        self.port = int(printed["url"].rpartition(":")[2])
        tokens = tomllib.loads(data.tokens.read_text())["token"]
        self.headers = {"authorization": f"Bearer {tokens[0]['token']}"}
        while self.get("u0000000")[0] != 200:
            time.sleep(0.1)
        self.seconds_to_load = time.perf_counter() - begin
        (self.socket,) = data.sockets.glob("*.sock")

    def get(self, user: str) -> tuple[int, bytes]:
        """Return status and body of one request on a connection of its own."""
        return ask_http(http.client.HTTPConnection("127.0.0.1", self.port), self.headers, user)

    def memory(self) -> dict[str, float]:
        """Return MiB of the server and of its recommender."""
        server = psutil.Process(self.process.pid)
        (recommender,) = server.children()
        return {
            "server": server.memory_info().rss / 2**20,
            "recommender": recommender.memory_info().rss / 2**20,
        }

    def cpu_seconds(self) -> tuple[float, float]:
        """Return the processor time so far, of the server and of its recommender."""
        server = psutil.Process(self.process.pid)
        (recommender,) = server.children()
        times = [process.cpu_times() for process in (server, recommender)]
        return times[0].user + times[0].system, times[1].user + times[1].system


def ask_http(
    connection: http.client.HTTPConnection, headers: dict[str, str], user: str
) -> tuple[int, bytes]:
    """Return status and body of one request."""
    connection.request("GET", f"/v1/recommend?user={user}&top=10", headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read()


def by_http(server: Server, users: list[str]) -> list[float]:
    """Return the milliseconds of each request of one client over HTTP."""
    connection, took = http.client.HTTPConnection("127.0.0.1", server.port), []
    for user in users:
        begin = time.perf_counter()
        status, body = ask_http(connection, server.headers, user)
        took.append(1e3 * (time.perf_counter() - begin))
        assert status == 200
        assert len(json.loads(body)["items"]) == 10
    return took


def by_socket(server: Server, users: list[str]) -> list[float]:
    """Return the milliseconds of each request of one client at the recommender's socket."""
    took = []
    with socket.socket(socket.AF_UNIX) as connection:
        folder = os.open(server.socket.parent, os.O_RDONLY)
        connection.connect(f"/proc/self/fd/{folder}/{server.socket.name}")
        os.close(folder)
        for user in users:
            begin = time.perf_counter()
            send(connection, {"user": user, "top": 10, "mask_history": "all"})
            answer = receive(connection)
            took.append(1e3 * (time.perf_counter() - begin))
            assert answer is not None
            assert len(answer["items"]) == 10
    return took


def by_many(ask, server: Server, users: list[str], clients: int) -> tuple[list[float], float]:
    """Return the milliseconds of each request of several clients, and requests per second."""
    took: list[list[float]] = [[] for _ in range(clients)]

    def work(client: int) -> None:
        took[client] = ask(server, users[client::clients])

    threads = [threading.Thread(target=work, args=(client,)) for client in range(clients)]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - begin
    return [one for of_client in took for one in of_client], len(users) / seconds


def plainly(item_count: int, repeats: int) -> list[float]:
    """Return the milliseconds of one product with all vectors, and of the best ten of it."""
    items, user = torch.randn(item_count, WIDTH), torch.randn(WIDTH)
    scores, took = torch.empty(item_count), []
    for _ in range(repeats):
        begin = time.perf_counter()
        torch.mv(items, user, out=scores).topk(10)
        took.append(1e3 * (time.perf_counter() - begin))
    return took


def show(name: str, took: list[float], rate: float | None = None) -> None:
    """Print a line of figures."""
    p50, p99 = np.percentile(took, [50, 99])
    more = "" if rate is None else f"  {rate:7.0f}/s"
    print(f"{name:<28} p50 {p50:7.2f} ms  p99 {p99:7.2f} ms{more}", flush=True)


def main() -> None:
    """Make the run, serve it, ask, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--requests", type=int, default=1000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        user_count = write_data(folder / "shop", arguments.items)
        write_trained(folder, folder / "shop")
        server = Server(folder)
        try:
            measure(server, user_count, arguments.items, arguments.requests)
        finally:
            server.process.terminate()
            server.process.wait()


def measure(server: Server, user_count: int, item_count: int, request_count: int) -> None:
    """Print the figures of one server."""
    print(f"{item_count:,} items, {user_count:,} users, load {os.getloadavg()[0]:.1f}")
    print(f"loaded after {server.seconds_to_load:.1f} s")
    draw = random.Random(0)
    users = [f"u{draw.randrange(user_count):07d}" for _ in range(request_count)]
    by_http(server, users[:20])
    show("torch.mv and topk", plainly(item_count, request_count // 4))
    for clients in (1, 8):
        for where, ask in (("socket", by_socket), ("HTTP", by_http)):
            before = server.cpu_seconds()
            show(f"{where}, {clients} clients", *by_many(ask, server, users, clients))
            after = server.cpu_seconds()
            spent = [1e3 * (b - a) / len(users) for a, b in zip(before, after, strict=True)]
            print(f"    processor time: server {spent[0]:.2f} ms, recommender {spent[1]:.2f} ms")
    show("torch.mv and topk, again", plainly(item_count, request_count // 4))
    memory = server.memory()
    print(f"server {memory['server']:.0f} MiB, recommender {memory['recommender']:.0f} MiB")
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
