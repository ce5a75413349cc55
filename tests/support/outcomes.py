"""What a run comes to, without what was measured: an interruption must not change it."""

from __future__ import annotations

import json

MEASURED = {"run", "seconds_per_epoch", "peak_memory_bytes", "predicted_memory_bytes"}
MEASURED_OF_EPOCH = {"seconds", "ended"}


def unmeasured(result):
    """Return a result without what was measured."""
    return {key: value for key, value in result.items() if key not in MEASURED}


def unmeasured_bytes(file):
    """Return the bytes of a file of a run folder, ``metrics.jsonl`` without what was measured."""
    if file.name != "metrics.jsonl":
        return file.read_bytes()
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert all(line.keys() >= MEASURED_OF_EPOCH for line in lines)
    kept = [{key: line[key] for key in line if key not in MEASURED_OF_EPOCH} for line in lines]
    return json.dumps(kept).encode()


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
        "metrics": unmeasured_bytes(run / "metrics.jsonl"),
        "ranks": (run / "eval" / "per_user.parquet").read_bytes(),
        **{file: (run / file).read_bytes() for file in files if (run / file).is_file()},
    }
