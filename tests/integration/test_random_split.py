"""A run under ``data.split=mmrec-random``, from its training to its lists."""

import json
import math

import numpy as np
import pyarrow.parquet as pq
import pytest

from crossan.cache_schema.errors import UsageError
from crossan.cache_schema.modality import Modality
from crossan.common.datasets import keep_sequences, open_dataset
from crossan.common.datasets.protocol import sequences_digest
from crossan.common.datasets.splitting import TEST, TRAINING
from crossan.common.split import Split
from crossan.train.cli import evaluate, recommend, train
from crossan.train.record.user_ranks import read_user_ranks
from support.commands import QUICK, attempt, run, train_in
from support.fabricated import TOPICS, write_rows, write_store
from support.outcomes import MEASURED

ITEMS = [f"i{topic}{item}" for topic in range(TOPICS) for item in range(10)]
RANDOM = ("--set", "data.split=mmrec-random", "--set", "data.split_seed=3")
SETTINGS = (*QUICK, "max_epochs=3", "model.dropout=0", "model.top_k=1")


def make_rows():
    """Return 60 users of 5 to 24 items, each half of one topic."""
    random = np.random.default_rng(5)
    rows = []
    for user in range(60):
        topic = int(random.integers(TOPICS))
        own = [f"i{topic}{n}" for n in random.permutation(10)]
        other = [item for item in random.permutation(ITEMS).tolist() if item not in own]
        items = [*own[: 3 + user % 8], *other[: 2 + user % 15]]
        rows += [(f"u{user:02d}", items[n], int(n)) for n in random.permutation(len(items))]
    return rows


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("place")
    write_rows(folder / "d", make_rows())
    write_store(folder / "c", Modality.TEXT)
    run_train(folder, *RANDOM, out="r")
    return folder


@pytest.fixture(scope="module")
def kept(place):
    return keep_sequences(open_dataset(place / "d").interactions(), split=Split("mmrec-random", 3))


def run_train(place, *more, out):
    return json.loads(train_in(place, SETTINGS, *more, out=out).stdout.splitlines()[-1])


def result_of(run_folder):
    return json.loads((run_folder / "result.json").read_text())


def unmeasured(result):
    return {key: value for key, value in result.items() if key not in MEASURED}


def test_the_result_says_what_was_drawn(place, kept):
    result = result_of(place / "r")
    assert (result["split"], result["split_seed"]) == ("mmrec-random", 3)
    assert result["sequences"] == sequences_digest(kept)
    assert result["targets"]["test"] == len(kept.test_targets) > result["users"] == 60
    assert result["targets"]["valid"] == len(kept.without_test().validation_targets)
    for part in ("valid", "test"):
        ranks = read_user_ranks(place / "r", part)
        assert len(ranks.ranks) == result["targets"][part]
        for k in (5, 10, 20, 50):
            assert ranks.hits(k).mean() == pytest.approx(result[part][f"hr@{k}"])
            assert ranks.ndcg(k).mean() == pytest.approx(result[part][f"ndcg@{k}"])
    assert result["test"]["hr@10"] > result["popularity"]["test"]["hr@10"]
    targets = {name: part["users"] for name, part in result["slices"]["target"].items()}
    assert targets["warm"] <= 60
    assert sum(part["users"] for part in result["slices"]["history_length"].values()) == 60


def test_per_user_ranks_are_lists_of_the_targets(place, kept):
    rows = pq.read_table(place / "r/eval/per_user.parquet").to_pylist()
    counts = np.bincount(kept.training_items, minlength=len(kept.item_ids))
    for user, row in enumerate(rows):
        own = slice(kept.offsets[user], kept.offsets[user + 1])
        targets = kept.items[own][kept.parts[own] == TEST]
        assert row["test_item_id"] == kept.item_ids[targets].tolist()
        assert row["test_training_count"] == counts[targets].tolist()
        assert row["test_is_cold"] == (counts[targets] == 0).tolist()
        assert row["test_history_length"] == row["valid_history_length"]
        assert row["test_history_length"] == (kept.parts[own] == TRAINING).sum()
    assert max(len(row["test_rank"]) for row in rows) > 1


def test_popularity_is_ranked_as_by_hand(place, kept):
    """Every item but those trained on is a candidate, the validation item too."""
    result = run_train(place, *RANDOM, "--model", "popularity", out="popularity")
    counts = np.bincount(kept.training_items, minlength=len(kept.item_ids))
    recalls, ndcgs = [], []
    for user in range(len(kept.user_ids)):
        own = slice(kept.offsets[user], kept.offsets[user + 1])
        items, parts = kept.items[own], kept.parts[own]
        targets = set(items[parts == TEST].tolist())
        shown = [row for row in range(len(counts)) if row not in items[parts == TRAINING]]
        shown.sort(key=lambda row: (-counts[row], row in targets))
        hits = [row in targets for row in shown[:10]]
        gains = [1 / math.log2(place + 2) for place in range(10)]
        recalls.append(sum(hits) / len(targets))
        ndcgs.append(np.dot(gains, hits) / sum(gains[: len(targets)]))
    assert result["test"]["hr@10"] == pytest.approx(np.mean(recalls))
    assert result["test"]["ndcg@10"] == pytest.approx(np.mean(ndcgs))
    assert result["popularity"]["test"] == result["test"]


def test_without_the_test_part_it_ends_in_the_same_weights(place):
    figures = run_train(place, *RANDOM, "--validation-only", out="v")
    result = result_of(place / "r")
    assert figures["valid"] == result["valid"]
    assert (figures["split"], figures["split_seed"]) == ("mmrec-random", 3)
    assert figures["sequences"] != result["sequences"]  # of what it saw
    weights = [
        (place / name / "checkpoints/best/model.safetensors").read_bytes() for name in ("v", "r")
    ]
    assert weights[0] == weights[1]
    assert unmeasured(run_train(place, *RANDOM, "--resume", out="v")) | {"run": ""} == unmeasured(
        result
    ) | {"run": ""}


@pytest.mark.parametrize(
    "other", [(), ("--set", "data.split=mmrec-random", "--set", "data.split_seed=4")]
)
def test_another_split_or_seed_is_no_resume(place, other):
    with pytest.raises(UsageError, match=r"data\.split"):
        run_train(place, *other, "--resume", out="r")


def test_a_seed_that_nothing_draws_by_is_refused(place):
    refused = attempt(
        train, "--dataset", place / "d", "--out", place / "x", "--set", "data.split_seed=4"
    )
    assert "expected no split_seed with split=leave-last-out" in str(refused.exception)


def test_it_is_evaluated_again_and_shown(place):
    result = result_of(place / "r")
    again = json.loads(
        run(evaluate, place / "r", "--device", "cpu", "--json").stdout.splitlines()[-1]
    )
    for name in ("valid", "test", "cold_test", "slices", "targets", "split", "split_seed"):
        assert again[name] == result[name]
    unmasked = run(evaluate, place / "r", "--device", "cpu", "--mask-history", "none").stdout
    assert "Recall@10" in unmasked
    assert "HR@10" not in unmasked
    assert (
        f"split mmrec-random with seed 3: {result['targets']['test']} test targets of 60 users"
        in unmasked
    )


def test_the_whole_sequence_is_what_a_user_is_recommended_after(place):
    shown = json.loads(
        run(
            recommend, place / "r", "--user", "u59", "--top", "5", "--device", "cpu", "--json"
        ).stdout
    )
    listed = shown["items"] if isinstance(shown, dict) else shown
    had = {item for user, item, _ in make_rows() if user == "u59"}
    assert len(listed) == 5
    assert not had & {entry["item_id"] for entry in listed}


def test_a_dataset_that_has_grown_is_drawn_anew_and_said(place, tmp_path):
    more = [*make_rows(), *((f"u{user:02d}", "i39", 99) for user in range(60))]
    write_rows(tmp_path / "d", sorted(set(more)))
    moved = json.loads((place / "r/result.json").read_text())
    (place / "kept").mkdir()
    (place / "d").rename(place / "kept/d")
    try:
        (tmp_path / "d").rename(place / "d")
        shown = run(evaluate, place / "r", "--device", "cpu", "--json")
    finally:
        (place / "d").rename(tmp_path / "d")
        (place / "kept/d").rename(place / "d")
    again = json.loads(shown.stdout.splitlines()[-1])
    assert again["dataset_changed"]
    assert again["sequences"] != moved["sequences"]
    assert again["split_seed"] == 3
