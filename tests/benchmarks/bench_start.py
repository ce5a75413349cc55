"""Whole processes: an extraction with nothing to do, and one of 200 pictures beside a plain script.

``bench_extract.py --only start`` runs it. Seconds are of computing, of a process and
those that it started, and on the clock; both sides take turns.
"""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

__all__ = ["PICTURES", "compare_starts"]

PICTURES = 200
_PLAIN = Path(__file__).with_name("plain_pictures.py")
_EXTRACT = "from crossan.extract.cli import main; main()"


def compare_starts(
    dataset: Path, checkpoint: Path, pictures: Sequence[str], folder: Path, repeats: int
) -> None:
    """Print a row of the table for each comparison.

    Parameters
    ----------
    dataset
        Of the pictures alone.
    folder
        Where caches and results may be written.
    """
    listing, cache = folder / "pictures.txt", folder / "start"
    listing.write_text("\n".join(pictures))
    plain = [str(_PLAIN), str(checkpoint), str(listing), str(folder / "plain.pt")]
    ours = ["-c", _EXTRACT, "--modality", "image", "--device", "cpu", "--num-workers", "1"]
    ours += ["--dataset", str(dataset), "--cache", str(cache), "--backbone", str(checkpoint)]
    spent: dict[str, list[tuple[float, float]]] = {}
    for _ in range(repeats):
        shutil.rmtree(cache, ignore_errors=True)
        for name, arguments in (("pictures", ours), ("plain", plain), ("nothing", ours)):
            spent.setdefault(name, []).append(_seconds(arguments))
        spent.setdefault("torch", []).append(_seconds(["-c", "import torch"]))
    for axis, unit in enumerate(("CPU s", "s on the clock")):
        median = {
            name: statistics.median(run[axis] for run in runs) for name, runs in spent.items()
        }
        for label, fast, slow in (
            (f"{PICTURES} pictures: plain script / ours", "pictures", "plain"),
            ("nothing to do: import torch alone / ours", "nothing", "torch"),
        ):
            ratio = median[slow] / median[fast]
            print(f"| {label}, {unit} | {median[fast]:.2f} | {median[slow]:.2f} | {ratio:.2f} | |")


def _seconds(arguments: Sequence[str]) -> tuple[float, float]:
    """Return the seconds that a Python process takes: of computing, and on the clock."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [sys.executable, *arguments],
        check=True,
        stdout=subprocess.DEVNULL,
        # Both sides with compiled code, and a thread each.
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": ""},
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    computing = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return computing, time.perf_counter() - begun
