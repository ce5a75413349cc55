"""Run folders with made-up figures, as a page shows them: no training, no dataset, no stores."""

from __future__ import annotations

import json
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from crossan.train.record.checkpoint import Checkpoint
from crossan.train.record.run_folder import RunFolder
from crossan.train.settings import DataSettings, RunSettings

USERS = 40
METRICS = [f"{metric}@{k}" for metric in ("hr", "ndcg", "mrr") for k in (5, 10, 20, 50)]


def metrics_of(value):
    return dict.fromkeys(METRICS, value)


def write_run(
    path,
    hit_ratio=0.5,
    *,
    model="crossan",
    seed=0,
    epochs=3,
    modalities=("text", "image"),
    judged="test",
    logits=None,
    settings=None,
    **result,
):
    """Write a run whose every metric is ``hit_ratio``, and whose first users so many are hits.

    ``judged`` is ``test``, ``valid`` for a run that has looked at no test target, or None for one
    that is not finished.
    """
    folder = RunFolder(path)
    options = settings or ({} if model == "crossan" else {"model": {"kind": model}})
    given = RunSettings(data=DataSettings(dataset="D", cache="C"), seed=seed, **options)
    folder.begin(given, {"crossan": "0.1.0", "torch": "2.13.0"}, may_resume=False)
    reads = modalities if given.model.reads_hidden_states else ()
    stores = {
        name: {"store": f"/C/D/{name}/made-up-1", "fingerprint": 64 * "a", "version": 1, "layers": [0, 2], "dim": 8}
        for name in reads
    }  # fmt: skip
    folder._write("cache.lock.json", json.dumps({"stores": stores}))
    for epoch in range(1, epochs + 1):
        loss = {} if model == "popularity" else {"loss": 2.0 / epoch}
        folder.append_metrics(
            {"epoch": epoch, **loss, "valid": metrics_of(hit_ratio * epoch / epochs)}
        )
    weights = {"id_embedding.weight": torch.zeros(2, 2)}
    if model == "crossan":
        count = len(modalities)
        shape = torch.zeros(count, count + 1)
        by_layer = logits or [shape, shape + torch.arange(count + 1.0)]
        weights = {f"item_encoder.towers.gates.{n}.logits": one for n, one in enumerate(by_layer)}
    folder.save_checkpoint("best", Checkpoint({"model": weights}, {}))
    if judged is not None:
        _write_figures(folder, hit_ratio, model, epochs, judged, result)
    folder.release()
    return path


def _write_figures(folder, hit_ratio, model, epochs, judged, result):
    both = {
        "model": model, "valid": metrics_of(hit_ratio), "users": USERS, "items": 30, "best_epoch": min(2, epochs),
        "epochs": epochs, "trainable_parameters": 9, "seconds_per_epoch": 0.5, "mask_history": "all",
    }  # fmt: skip
    if judged == "valid":
        folder.write_validation({**both, "sequences": 64 * "b", **result})
        return
    half = {"users": USERS // 2, **metrics_of(hit_ratio)}
    folder.write_result(
        {
            **both, "test": metrics_of(hit_ratio), "cold_test": {"targets": 20, "hr@10": hit_ratio / 2, "ndcg@10": 0.1},
            "cold_valid": {"targets": 16, "hr@10": hit_ratio / 4, "ndcg@10": 0.05},
            "popularity": {"valid": metrics_of(0.0625), "test": metrics_of(0.03125)}, "unwinnable_test_targets": 3,
            "slices": {
                "target": {"cold": half, "warm": half},
                "target_popularity_decile": {"1": half, "10": half},
                "history_length": {"3-4": half, "5-8": half},
            },
            "recommendations": {
                "top": 10, "coverage": 0.4321, "gini": 0.625, "mean_popularity": 12.5,
                "history_mean_popularity": 10.0, "popularity_lift": 0.25,
            },
            **result,
        }
    )  # fmt: skip
    write_ranks(folder.path, hit_ratio)


def write_ranks(run, hit_ratio):
    """Write ranks of 1 for the first users, so many that their share is the hit ratio; others are 20."""
    ranks = np.where(np.arange(USERS) < round(hit_ratio * USERS), 1, 20).astype(np.int64)
    is_cold = np.arange(USERS) % 2 == 0
    part = {
        "rank": ranks, "item_id": [f"i{user % 30:02d}" for user in range(USERS)], "is_cold": is_cold,
        "training_count": np.where(is_cold, 0, 5), "popularity_decile": np.where(is_cold, 1, 10),
        "history_length": np.where(is_cold, 3, 6),
    }  # fmt: skip
    columns = {f"{name}_{key}": value for name in ("valid", "test") for key, value in part.items()}
    (run / "eval").mkdir(exist_ok=True)
    table = pa.table({"user_id": [f"u{user:02d}" for user in range(USERS)], **columns})
    pq.write_table(table, run / "eval/per_user.parquet")


def write_sweep(path, tried, chosen):
    """Write a sweep of ``(point, model, validation)``, the chosen one by its number, its runs with result.json."""
    path.mkdir(parents=True)
    for name in ("sweep.toml", "config.toml"):
        (path / name).write_text("")
    settings = []
    for number, (point, model, valid) in enumerate(tried):
        run = f"runs/0000000{number}-seed0"
        judged = "test" if number == chosen else "valid"
        write_run(path / run, valid, model=model, judged=judged)
        spread = {name: {"mean": valid, "sd": None} for name in METRICS}
        settings.append(
            {"point": point, "model": model, "runs": [{"run": run, "seed": 0}], "valid": spread, "trainable_parameters": 9}
        )  # fmt: skip
    failed = [{"point": {"optimiser.lr": 9.0}, "seed": 0, "reason": "TrainingDivergedError: nan"}]
    selection = {
        "rule": "highest mean validation hr@10",
        "settings": settings,
        "failed": failed,
        "chosen": settings[chosen],
    }
    (path / "selection.json").write_text(json.dumps(selection))
    return path


@contextmanager
def undrawn_figures():
    """Spare the drawing, which takes most of a page's time: figures have words and numbers alone."""
    from crossan.train.report import curves, figures, gates, headline, measured, slices

    def undrawn(name, title, numbers, draw, *, size, alt, caption=""):
        return figures.Figure(name, title, alt, caption, "<svg></svg>", "<svg></svg>", b"", numbers)

    with ExitStack() as patched:
        for room in (curves, gates, headline, measured, slices):
            patched.enter_context(patch.object(room, "figure", undrawn))
        yield
