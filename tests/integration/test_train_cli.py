"""crossan-train, evaluate and recommend as a user runs them, on fabricated stores."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from crossan.cache_schema.errors import (
    BusyError,
    ConfigError,
    IncompatibleError,
    StoreIntegrityError,
    StoreNotFoundError,
    UsageError,
)
from crossan.cache_schema.modality import Modality
from crossan.train.cli import evaluate, recommend, train
from crossan.train.record.run_folder import RunFolder
from crossan.train.record.user_ranks import read_user_ranks
from support.commands import run, train_quickly

SPLIT_KEYS = {f"{name}@{k}" for name in ("hr", "ndcg", "mrr") for k in (5, 10, 20, 50)}


def test_the_result_keeps_its_promise_and_learns(small):
    result = train_quickly(small)
    promised = {
        "run", "valid", "test", "cold_valid", "cold_test", "popularity", "trainable_parameters", "epochs", "seconds_per_epoch",
        "peak_memory_bytes", "users", "items", "unwinnable_test_targets", "slices", "recommendations", "init",
        "split", "split_seed", "sequences", "mask_history",
    }  # fmt: skip
    assert promised <= set(result)
    assert (
        set(result["valid"])
        == set(result["test"])
        == set(result["popularity"]["test"])
        == SPLIT_KEYS
    )
    assert result == json.loads((small / "r" / "result.json").read_text())
    assert result["users"] == 150
    assert result["cold_test"]["targets"] == 50
    # With the topic known, the 3 to 4 unseen items of it fill the first ranks; 10 of 40 by chance.
    assert result["test"]["hr@10"] > 0.8
    assert result["cold_test"]["hr@10"] > 0.8
    ranks = pq.read_table(small / "r" / "eval" / "per_user.parquet").to_pylist()
    assert sum(row["test_rank"] <= 10 for row in ranks) / 150 == pytest.approx(
        result["test"]["hr@10"]
    )
    for part in ("valid", "test"):
        read = read_user_ranks(small / "r", part)
        assert read.hits(10).mean() == pytest.approx(result[part]["hr@10"])
        assert read.ndcg(20).mean() == pytest.approx(result[part]["ndcg@20"])
        cold = result[f"cold_{part}"]
        assert read.is_cold.sum() == cold["targets"]
        if cold["targets"]:
            assert read.hits(10)[read.is_cold].mean() == pytest.approx(cold["hr@10"])
    check_slices(result, ranks)
    for name in (
        "config.toml",
        "env.json",
        "cache.lock.json",
        "metrics.jsonl",
        "checkpoints/best/model.safetensors",
    ):
        assert (small / "r" / name).is_file()
    assert len((small / "r" / "metrics.jsonl").read_text().splitlines()) == result["epochs"]


def check_slices(result, ranks):
    """Every slice is the mean over its users in the table of ranks, and each way to slice leaves nobody out."""
    slices = result["slices"]
    assert set(slices) == {"target", "target_popularity_decile", "history_length"}
    for parts in slices.values():
        assert sum(part["users"] for part in parts.values()) == 150
        hits = sum(part["users"] * part["hr@5"] for part in parts.values())
        assert hits == pytest.approx(sum(row["test_rank"] <= 5 for row in ranks))
    cold = slices["target"]["cold"]
    assert (cold["users"], cold["hr@10"]) == (
        result["cold_test"]["targets"],
        result["cold_test"]["hr@10"],
    )
    tenth = [row for row in ranks if row["test_popularity_decile"] == 10]
    assert slices["target_popularity_decile"]["10"]["mrr@10"] == pytest.approx(
        sum(1 / row["test_rank"] for row in tenth if row["test_rank"] <= 10) / len(tenth)
    )
    assert {row["test_history_length"] for row in ranks} == {5, 6}
    assert set(slices["history_length"]) == {"5-8"}
    shown = result["recommendations"]
    assert shown["top"] == 10
    assert 0 < shown["coverage"] <= 1
    assert 0 <= shown["gini"] < 1
    # What is left of a user's topic are one or two warm items and three cold ones; the histories are all warm.
    assert shown["popularity_lift"] == pytest.approx(
        shown["mean_popularity"] / shown["history_mean_popularity"] - 1
    )
    assert shown["popularity_lift"] < 0


def test_shuffled_features_do_not_help_cold_targets(small):
    result = train_quickly(small, "--set", "features.permute_seed=3")
    assert (
        result["cold_test"]["hr@10"] < 0.6
    )  # 10 of 34 to 40 by chance; the true features give over 0.8


def test_permuting_features_at_evaluation_takes_the_gain_away(small):
    trained = train_quickly(small)
    same = json.loads(run(evaluate, small / "r", "--device", "cpu", "--json").stdout)
    assert {
        key: same[key]
        for key in ("valid", "test", "cold_test", "popularity", "slices", "recommendations")
    } == {
        key: trained[key]
        for key in ("valid", "test", "cold_test", "popularity", "slices", "recommendations")
    }
    permuted = json.loads(
        run(evaluate, small / "r", "--device", "cpu", "--permute-features", 1, "--json").stdout
    )
    assert permuted["test"]["hr@10"] < 0.6 < same["test"]["hr@10"]
    assert "HR@10" in run(evaluate, small / "r", "--mask-history", "none").stdout


def test_the_order_of_rows_changes_no_result(tmp_path, make_dataset, make_store):
    results = []
    for seed in (None, 1):
        place = tmp_path / str(seed)
        make_dataset(place / "d", order=seed and np.random.default_rng(seed))
        for modality in (Modality.TEXT, Modality.AUDIO):
            make_store(place / "c", modality, order=seed and np.random.default_rng(seed))
        results.append(train_quickly(place, epochs=3))
    for key in ("valid", "test", "cold_test", "popularity", "epochs"):
        assert results[0][key] == results[1][key]


def test_the_reference_step_trains_the_same_model(small):
    """Without dropout, which draws for padding as well in the slow step; float32 leaves rounding."""
    losses = {}
    for name, more in (("fast", ()), ("slow", ("--reference",))):
        train_quickly(small, *more, "--set", "model.dropout=0", out=name, epochs=2)
        losses[name] = [
            json.loads(line)["loss"]
            for line in (small / name / "metrics.jsonl").read_text().splitlines()
        ]
    assert losses["fast"] == pytest.approx(losses["slow"], rel=1e-4)
    assert losses["fast"] != losses["slow"]  # not the same code twice


def test_an_automatic_compute_type_is_settled_in_the_config(small):
    train_quickly(small, "--set", "model.compute=auto", epochs=1)
    recorded = RunFolder(small / "r").settings().model.compute
    assert recorded in ("float32", "bfloat16")
    train_quickly(small, "--set", "model.compute=auto", "--resume", epochs=1)
    assert RunFolder(small / "r").settings().model.compute == recorded


def test_a_lone_modality_needs_no_setting(small):
    of_text = ("--modality", "text")
    alone = train_quickly(small, *of_text, out="alone", epochs=1)
    named = train_quickly(small, *of_text, "--set", "model.top_k=1", out="named", epochs=1)
    assert alone["test"] == named["test"]
    weights = "checkpoints/best/model.safetensors"
    assert (small / "alone" / weights).read_bytes() == (small / "named" / weights).read_bytes()


def test_a_damaged_best_checkpoint_is_not_evaluated(small):
    train_quickly(small, epochs=1)
    path = small / "r" / "checkpoints" / "best" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StoreIntegrityError, match="its bytes are not those that were written"):
        run(evaluate, small / "r")


def test_the_resolved_config_repeats_the_run(small):
    first = train_quickly(small, epochs=2)
    again = json.loads(
        run(
            train,
            "--config",
            small / "r" / "config.toml",
            "--out",
            small / "r2",
            "--device",
            "cpu",
            "--json",
        ).stdout.splitlines()[-1]
    )
    assert again["test"] == first["test"]


def test_early_stopping_counts_epochs_without_improvement(small):
    result = train_quickly(small, "--set", "patience=1", epochs=50)
    assert result["epochs"] == result["best_epoch"] + 1 < 50


def test_recommend_leaves_out_what_was_seen(small, sequences):
    train_quickly(small, epochs=2)
    report = json.loads(run(recommend, small / "r", "--user", "u001", "--top", 50, "--json").stdout)
    seen = {item for user, item, _ in sequences if user == "u001"}
    shown = [item["item_id"] for item in report["items"]]
    assert report["user"] == "u001"
    assert not seen & set(shown)
    assert len(shown) == len(set(shown)) == 40 - len(seen)
    scores = [item["score"] for item in report["items"]]
    assert scores == sorted(scores, reverse=True)
    assert report["items"][0]["title"] == f"title of {shown[0]}"
    by_history = json.loads(
        run(recommend, small / "r", "--history", "i01,i02", "--top", 3, "--json").stdout
    )
    assert len(by_history["items"]) == 3
    assert "title of" in run(recommend, small / "r", "--user", "u001").stdout


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (("--user", "u0x1"), "--user u0x1: not among the run's 150 users .*did you mean 'u0.1'"),
        (("--history", "i01,nope"), "--history i01,nope: not in the catalogue of 40 items: nope"),
        (
            ("--user", "u" * 30_000),
            "--user: expected a user id of at most 1,024 bytes, found 30,000",
        ),
        (
            ("--history", "x" * 30_000),
            r"--history 'xxx.*\(30,000 characters\): not in the catalogue of 40 items: 'xxx",
        ),
        ((), "expected one of --user, --history, --all-users and --users"),
    ],
)
def test_recommend_refuses_strangers(small, arguments, match):
    train_quickly(small, epochs=1)
    with pytest.raises(UsageError, match=match):
        run(recommend, small / "r", *arguments)


@pytest.mark.parametrize(
    ("more", "error", "match"),
    [
        (
            ("--set", "model.botleneck_dim=3"),
            ConfigError,
            "unknown setting 'model.botleneck_dim'; did you mean 'model.bottleneck_dim'",
        ),
        (
            ("--set", "batch_size=0"),
            ConfigError,
            "--set batch_size=0: batch_size: .*greater than or equal to 1, got 0",
        ),
        (
            ("--modality", "text,smell"),
            UsageError,
            "--modality text,smell: expected text, image, video, audio or all, got 'smell'",
        ),
        (
            ("--modality", "video"),
            StoreNotFoundError,
            "(?s)expected a store of video, found none.*crossan-extract --modality video",
        ),
        (
            ("--modality", "text", "--set", "model.top_k=3"),
            UsageError,
            "model.top_k: expected at most 1",
        ),
        (("--device", "quantum"), UsageError, "--device quantum: not available on this machine"),
        (("--max-items", "3"), ConfigError, "data.max_items: .*greater than or equal to 4"),
        (("--set", "mask_history=some"), ConfigError, "mask_history"),
        (
            ("--set", "model.layers=[0,5]"),
            IncompatibleError,
            r"expected the layers that the model asks for, 5, found 0, 1(?s:.*)model\.layers",
        ),
        (
            ("--model", "freedom", "--set", "model.layer=5"),
            IncompatibleError,
            r"expected the layers that the model asks for, 5, found 0, 1(?s:.*)model\.layer=",
        ),
    ],
)
def test_what_cannot_be_is_named(small, more, error, match):
    with pytest.raises(error, match=match):
        train_quickly(small, *more)
    assert not (small / "r").exists()


def test_a_folder_in_use_and_other_settings_are_refused(small):
    train_quickly(small, epochs=1)
    with pytest.raises(UsageError, match="expected an empty folder, found files in it"):
        train_quickly(small, epochs=1)
    with pytest.raises(
        UsageError, match=r"(?s)the run there has other settings\n  seed: 0 there, 5 asked"
    ):
        train_quickly(small, "--resume", "--seed", "5", epochs=1)


def test_a_run_is_opened_from_anywhere(small, monkeypatch):
    monkeypatch.chdir(small)
    trained = json.loads(
        run(
            train, "--dataset", "d", "--cache", "c", "--out", "r", "--set", "max_epochs=1", "--json"
        ).stdout
    )
    monkeypatch.chdir("/")
    assert json.loads(run(evaluate, small / "r", "--json").stdout)["test"] == trained["test"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--seed", "-1"), "seed"),
        (("--seed", str(2**32)), "seed"),
        (("--set", "features.permute_seed=-1"), "permute_seed"),
    ],
)
def test_seeds_that_no_generator_takes_are_refused(small, words, message):
    with pytest.raises(ConfigError, match=message):
        train_quickly(small, *words, epochs=1)
    assert not (small / "r").exists()


def test_evaluate_needs_a_run(tmp_path):
    with pytest.raises(UsageError, match=r"no run at .*: expected config.toml there"):
        run(evaluate, tmp_path)


def test_no_cache_named(tmp_path):
    with pytest.raises(
        UsageError,
        match="--cache: expected a folder of stores, found neither the flag nor CROSSAN_CACHE",
    ):
        run(train, "--dataset", tmp_path, "--out", tmp_path / "r")


def test_a_folder_another_process_trains_in_is_busy(small, monkeypatch):
    from crossan.common import owners

    train_quickly(small, epochs=1)
    alive = f"{owners._host()}{owners._boot()}{owners._namespace()}-1-{owners._start_time(1)}"
    (small / "r" / ".owner").write_text(alive)
    with pytest.raises(BusyError, match="another process trains in this folder"):
        train_quickly(small, "--resume", epochs=2)
    (small / "r" / ".owner").write_text(
        alive.rsplit("-", 1)[0] + "-123"
    )  # a process id that means another process now
    assert train_quickly(small, "--resume", epochs=2)["epochs"] == 2
    assert not (small / "r" / ".owner").exists()
