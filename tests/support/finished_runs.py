"""Finished runs whose ranks are given, written without training: what `crossan compare` reads."""

import json
import math

import pyarrow as pa
import pyarrow.parquet as pq

from crossan.common.config import to_toml
from crossan.train.settings import DataSettings, RunSettings, SasrecSettings

CUTOFFS = (5, 10, 20, 50)


def metrics_of(ranks):
    """Return the metrics of ranks, each user's by itself and then their mean."""
    gains = {
        "hr": lambda rank: 1.0,
        "ndcg": lambda rank: 1 / math.log2(rank + 1),
        "mrr": lambda rank: 1 / rank,
    }
    return {
        f"{name}@{k}": sum(gain(rank) for rank in ranks if rank <= k) / len(ranks)
        for name, gain in gains.items()
        for k in CUTOFFS
    }


def write_run(
    folder, ranks, *, seed=0, users=None, valid_ranks=None, validation_only=False, **more
):
    """Write a run that ranked the test targets of its users so; return the folder.

    ``more`` replaces what its result says; ``lr`` and ``permute_seed`` are settings of it.
    """
    folder.mkdir(parents=True)
    data = DataSettings(dataset="/data/small")
    settings = RunSettings(data=data, model=SasrecSettings(), seed=seed)
    if "lr" in more:
        optimiser = settings.optimiser.model_copy(update={"lr": more.pop("lr")})
        settings = settings.model_copy(update={"optimiser": optimiser})
    (folder / "config.toml").write_text(to_toml(settings))
    (folder / "env.json").write_text(json.dumps({"spec": {}, "command": more.pop("command", [])}))
    valid_ranks = ranks if valid_ranks is None else valid_ranks
    users = users or [f"u{number:03d}" for number in range(len(ranks))]
    facts = {
        "model": "sasrec", "valid": metrics_of(valid_ranks), "users": len(users), "items": 40,
        "split": "leave-last-out", "split_seed": None, "sequences": "ab" * 32, "mask_history": "all",
        "contents": {}, "trainable_parameters": 100, "epochs": 4, "best_epoch": 2,
        "seconds_per_epoch": 0.5,
    }  # fmt: skip
    if validation_only:
        (folder / "validation.json").write_text(json.dumps(facts | more))
        return folder
    is_cold = [number % 2 == 0 for number in range(len(ranks))]
    cold = metrics_of([rank for rank, one in zip(ranks, is_cold, strict=True) if one])
    part = {"users": len(users), **metrics_of(ranks)}
    result = facts | {
        "test": metrics_of(ranks), "popularity": {"valid": metrics_of(ranks), "test": metrics_of(ranks)},
        "cold_test": {"targets": sum(is_cold), "hr@10": cold["hr@10"], "ndcg@10": cold["ndcg@10"]},
        "slices": {"target": {"cold": part}, "target_popularity_decile": {"1": part}, "history_length": {"3-4": part}},
        "recommendations": {
            "top": 10, "coverage": 0.5, "gini": 0.5, "mean_popularity": 1.0,
            "history_mean_popularity": 1.0, "popularity_lift": 0.0,
        },
        "unwinnable_test_targets": 1,
    } | more  # fmt: skip
    (folder / "result.json").write_text(json.dumps(result))
    write_ranks(folder, users, ranks, valid_ranks, is_cold)
    return folder


def write_ranks(folder, users, ranks, valid_ranks, is_cold):
    columns = {"user_id": users, "valid_rank": valid_ranks, "test_rank": ranks}
    for part in ("test", "valid"):
        columns |= {
            f"{part}_is_cold": is_cold,
            f"{part}_training_count": [0 if one else 3 for one in is_cold],
            f"{part}_popularity_decile": [1] * len(users),
            f"{part}_history_length": [4] * len(users),
        }
    (folder / "eval").mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), folder / "eval/per_user.parquet")


def write_sweep(folder, trials, chosen):
    """Write a sweep of trials by the names of their runs; ``chosen`` are names, or None."""
    (folder / "runs").mkdir(parents=True)
    (folder / "sweep.toml").write_text("seeds = [0, 1]\n")
    (folder / "config.toml").write_text("")
    for name, (ranks, options) in trials.items():
        write_run(folder / "runs" / name, ranks, **options)
    runs = None if chosen is None else {"runs": [{"run": f"runs/{name}"} for name in chosen]}
    (folder / "selection.json").write_text(json.dumps({"chosen": runs}))
    return folder
