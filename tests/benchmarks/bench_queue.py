"""What the queue costs: a shim's start and memory, and an idle queue's wake-ups. ``docs/benchmarks/service.md`` has a result."""

from __future__ import annotations

import json
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parent.parent))

from crossan.train.service.executors import Attempt, Job, LocalExecutor
from crossan.train.service.executors.marked import kill_marked
from crossan.train.service.queue import State
from support.queued import PYTHON, Queue

SLEEPS = (*PYTHON, "import time; time.sleep(1000)")


def measure_shims(folder, count=20):
    """Print how long shims take to start, and what each holds."""
    executor, seconds, attempts = LocalExecutor(), [], []
    for number in range(count):
        attempt = Attempt(number, 1, folder / str(number), f"{folder}/{number}")
        begun = time.perf_counter()
        executor.start(attempt, Job(SLEEPS, {}, 2**30, 1000.0, 1000.0, 1))
        seconds.append(time.perf_counter() - begun)
        attempts.append(attempt)
    shims = [psutil.Process(json.loads((one.folder / "shim.json").read_text())["pid"]) for one in attempts]  # fmt: skip
    time.sleep(1.0)
    memory = shims[0].memory_full_info()
    before = sum(sum(shim.cpu_times()[:2]) for shim in shims)
    time.sleep(20.0)
    after = sum(sum(shim.cpu_times()[:2]) for shim in shims)
    start = 1000 * statistics.median(seconds)
    print(f"shim: starts in {start:.0f} ms (median of {count}, {before / count * 1000:.0f} ms of a core)")  # fmt: skip
    print(f"shim: {memory.rss / 2**20:.1f} MiB, of which {memory.uss / 2**20:.1f} MiB its own")
    print(f"shim: {(after - before) / 20 / count * 1000:.1f} ms of a core each second")
    for attempt in attempts:
        kill_marked(attempt.marker)


def _wakes():
    """Return how often the threads of this process have woken so far."""
    texts = [path.read_text() for path in Path("/proc/self/task").glob("*/status")]
    return sum(
        int(re.search(r"^voluntary_ctxt_switches:\s*(\d+)", text, re.M)[1]) for text in texts
    )


def measure_queue(folder):
    """Print how often a queue wakes, idle and with one run."""
    process = psutil.Process()
    queue = Queue(folder / "service").start()
    for name in ("idle", "one run"):
        if name == "one run":
            queue.wait(queue.submit("import time; time.sleep(1000)"), State.RUNNING)
        time.sleep(2.0)
        wakes, cpu = _wakes(), sum(process.cpu_times()[:2])
        time.sleep(20.0)
        wakes = (_wakes() - wakes) / 20
        cpu = (sum(process.cpu_times()[:2]) - cpu) / 20 * 1000
        print(
            f"queue, {name}: wakes {wakes:.1f} times and takes {cpu:.1f} ms of a core each second"
        )
    queue.cancel_all()
    queue.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        measure_shims(Path(name))
        measure_queue(Path(name))
