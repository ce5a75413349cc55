"""What a run comes to, without what was measured: an interruption must not change it."""

from __future__ import annotations

import json

MEASURED = {"run", "seconds_per_epoch", "peak_memory_bytes", "predicted_memory_bytes"}


def unmeasured(result):
    """Return a result without what was measured."""
    return {key: value for key, value in result.items() if key not in MEASURED}


def outcome(run):
    """Return the figures of a run folder as values, and its metrics, ranks, weights and optimiser as bytes."""
    result = json.loads((run / "result.json").read_text())
    files = [
        f"checkpoints/{name}/{file}.safetensors"
        for name in ("last", "best")
        for file in ("model", "optimiser")
    ]
    return {
        "result": unmeasured(result),
        "metrics": (run / "metrics.jsonl").read_bytes(),
        "ranks": (run / "eval" / "per_user.parquet").read_bytes(),
        **{file: (run / file).read_bytes() for file in files if (run / file).is_file()},
    }
