"""How fast `crossan serve` starts, what it needs while idle, and how fast it answers.

Run:  python tests/benchmarks/bench_service.py
"""

from __future__ import annotations

import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

import psutil

STARTS = 7
REQUESTS = 300
IDLE_SECONDS = 10
CROSSAN = Path(sys.executable).parent / "crossan"


def start(folder):
    """Start a server; return its process, its port and the seconds until its first answer."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [
            *(CROSSAN, "serve", "--data", folder / "service", "--port", "0", "--json"),
            *("--root", folder / "roots", "--cache", folder / "cache"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    port = int(json.loads(process.stdout.readline())["url"].rpartition(":")[2])
    tokens = tomllib.loads((folder / "service" / "tokens.toml").read_text())["token"]
    headers = {"authorization": f"Bearer {tokens[0]['token']}"}
    ask(http.client.HTTPConnection("127.0.0.1", port), "/readyz", headers)
    return process, port, headers, time.perf_counter() - began


def ask(connection, path, headers):
    """Return the seconds until a request is answered."""
    began = time.perf_counter()
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 200, answer.status
    return time.perf_counter() - began


def main():
    folder = Path(tempfile.mkdtemp())
    for name in ("roots", "cache"):
        (folder / name).mkdir()
    seconds, processor = [], []
    for _ in range(STARTS):
        process, port, headers, duration = start(folder)
        times = psutil.Process(process.pid).cpu_times()
        seconds.append(duration)
        processor.append(times.user + times.system)
        if len(seconds) < STARTS:
            process.terminate()
            process.wait()
    print(f"load of the machine: {psutil.getloadavg()[0]:.1f} on {psutil.cpu_count()} cores")
    print(f"start to the first answer: median {statistics.median(seconds):.2f} s, least {min(seconds):.2f} s")  # fmt: skip
    print(f"  processor time of it: median {statistics.median(processor):.2f} s, least {min(processor):.2f} s")  # fmt: skip
    server = psutil.Process(process.pid)
    before = server.cpu_times()
    time.sleep(IDLE_SECONDS)
    after = server.cpu_times()
    used = (after.user + after.system - before.user - before.system) / IDLE_SECONDS
    print(f"idle: {server.memory_info().rss / 2**20:.0f} MiB, {used:.1%} of a core, {server.num_threads()} threads")  # fmt: skip
    connection = http.client.HTTPConnection("127.0.0.1", port)
    for path in ("/healthz", "/readyz", "/v1/runs", "/metrics"):
        answers = sorted(ask(connection, path, headers) for _ in range(REQUESTS))
        print(f"{path}: median {answers[REQUESTS // 2] * 1000:.1f} ms, p99 {answers[REQUESTS * 99 // 100] * 1000:.1f} ms")  # fmt: skip
    print(f"after {4 * REQUESTS} requests: {server.memory_info().rss / 2**20:.0f} MiB")
    process.terminate()
    print(f"SIGTERM: exit code {process.wait()}")


if __name__ == "__main__":
    main()
