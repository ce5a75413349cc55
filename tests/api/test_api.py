"""crossan.api beyond its examples: ids that are unknown, questions that mean nothing, what commands give too."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from crossan import api
from crossan.cache_schema.errors import StoreNotFoundError
from crossan.cache_schema.identity import StoreIdentity
from crossan.cache_schema.modality import ItemStatus, Modality
from crossan.common.stores import ItemRow, Journal, create_store, encode_rows, store_folder
from crossan.train.cli import evaluate, recommend
from support.commands import run as run_command
from support.fabricated import write_rows, write_store


@pytest.fixture
def first(world):
    return api.open_run(world / "runs" / "first", device="cpu")


@pytest.fixture
def text(world):
    return api.open_cache(world / "cache", world / "data")["text"]


def test_rows_come_in_the_order_of_the_ids_with_repeats(world, text):
    whole = dict(zip(text.items, text.rows(text.items), strict=True))
    rows = text.rows(pa.array(["i39", "i00", "i39"]))
    assert np.array_equal(rows, np.stack([whole["i39"], whole["i00"], whole["i39"]]))
    assert torch.equal(text.tensor(["i39"]), torch.from_numpy(rows[:1]))
    assert np.array_equal(text.rows(["i39"], layers=[1, 0]), rows[:1, ::-1])
    assert text.rows([]).shape == (0, 2, 8)


def test_an_item_without_a_medium_is_known_and_absent(world):
    image = api.open_cache(world / "cache", api.open_dataset(world / "data"))["image"]
    assert image.status(["i00", "i01"]) == ["absent", "ok"]
    assert image.presence(["i00", "i01"]).tolist() == [False, True]
    assert np.isnan(image.rows(["i00"])).all()


@pytest.mark.parametrize(
    ("ids", "error", "match"),
    [
        (
            ["i00", "i0O"],
            KeyError,
            "item i0O: not among the 40 items of the text store .*the nearest are i",
        ),
        (["i00", "no", "nope"], api.UnknownIdError, r"item no: .*\(2 such ids\)"),
        (["x" * 30_000], api.UnknownIdError, "not among the 40"),
        ([""], api.UnknownIdError, "item '': not among the 40"),
        ("i00", api.UsageError, "expected a sequence of item ids, got 'i00'"),
        ([7], api.UsageError, "expected item ids as text, got 7 of type int"),
        (7, api.UsageError, "expected a sequence of item ids, got 7"),
        (b"i00", api.UsageError, "expected a sequence of item ids, got b'i00'"),
        (None, api.UsageError, "expected a sequence of item ids, got None"),
        ({"i00", "i01"}, api.UsageError, "expected a sequence of item ids, got {"),
        (np.array("i00"), api.UsageError, "expected a sequence of item ids, got array"),
        (np.array([["i00"]]), api.UsageError, "expected item ids as text"),
        (["x" * 1_024], api.UnknownIdError, r"item 'x+\.\.\. \(1,024 characters\): not among"),
        ([" i00"], api.UnknownIdError, "item ' i00': not among"),
    ],
)
def test_ids_that_are_unknown_or_none_are_refused(text, ids, error, match):
    with pytest.raises(error, match=match) as raised:
        text.rows(ids)
    assert isinstance(raised.value, api.CrossanError)
    assert len(str(raised.value)) < 2_000


def test_bfloat16_stays_what_it_is(tmp_path):
    write_rows(tmp_path / "d", [("u", "a", 1)], items=["a", "b"])
    identity = StoreIdentity(
        modality=Modality.TEXT,
        backbone={"id": "b"},
        inputs={},
        capture={"layers": [0, 3], "pooling": "cls"},
        dim=5,
        stored_dtype="bfloat16",
    )
    states = torch.randn(2, 2, 5, generator=torch.Generator().manual_seed(0)).bfloat16()
    folder = store_folder(tmp_path / "c", "small", identity)
    create_store(folder, identity, np.zeros((4, 2, 5), np.float32))
    journal = Journal.open(folder, "test")
    stored, _ = encode_rows(states.float().numpy(), "bfloat16")
    journal.append(
        [ItemRow(item, None, ItemStatus.OK, None, stored[row]) for row, item in enumerate("ab")]
    )
    journal.publish({})
    journal.close()
    store = api.open_cache(tmp_path / "c", tmp_path / "d")["text"]
    assert store.dtype == "bfloat16"
    assert torch.equal(store.tensor(["b", "a"]), states[[1, 0]])
    assert store.tensor(["a"], layers=[3]).dtype == torch.bfloat16
    assert np.array_equal(store.rows(["a"]), states[:1].float().numpy())


def test_a_modality_without_a_store_and_one_with_two_are_told_apart(world, tmp_path):
    cache = api.open_cache(world / "cache", world / "data")
    assert (list(cache), "audio" in cache, len(cache)) == (["text", "image"], False, 2)
    assert (cache.get("audio"), cache.get("audio", 0), [] in cache) == (None, 0, False)
    with pytest.raises(
        api.UsageError, match=r"no_cache: expected a folder.*(.|\n)*crossan-extract"
    ):
        api.open_cache(tmp_path / "no_cache", world / "data")
    with pytest.raises(api.UsageError, match="a sequence of layer numbers, got 1"):
        cache["text"].rows(["i00"], layers=1)
    with pytest.raises(StoreNotFoundError, match="expected a store of 'audio'.* found text, image"):
        cache["audio"]
    write_rows(tmp_path / "d", [("u", "i00", 1)])
    paths = [write_store(tmp_path / "c", Modality.TEXT, name=name) for name in ("one", "two")]
    with pytest.raises(api.UsageError, match=r"2 text stores .*\n.*\n.*\n.*stores=\["):
        api.open_cache(tmp_path / "c", tmp_path / "d")["text"]
    named = api.open_cache(tmp_path / "c", tmp_path / "d", stores=[paths[1]])
    assert named["text"].backbone == "two"


def test_a_dataset_gives_its_tables(world):
    dataset = api.open_dataset(world / "data")
    assert dataset.titles(["i03", "i00"]) == ["title of i03", "title of i00"]
    assert dataset.interactions.num_rows == len(dataset.interactions.column("item_id"))
    with pytest.raises(
        api.UnknownIdError, match="item m: not among the 40 items of the dataset small"
    ):
        dataset.titles(["m"])


def test_a_run_gives_what_the_commands_give(world, first):
    shown = json.loads(
        run_command(recommend, first.path, "--user", "u001", "--top", 6, "--json").stdout
    )["items"]
    table = first.recommend(user="u001", top=6)
    assert table.column("item_id").to_pylist() == [item["item_id"] for item in shown]
    assert table.column("title").to_pylist() == [item["title"] for item in shown]
    assert table.column("score").to_pylist() == pytest.approx(
        [item["score"] for item in shown], abs=1e-5
    )
    assert table.equals(first.recommend(first.history("u001"), top=6))
    judged = json.loads(run_command(evaluate, first.path, "--json").stdout)
    figures = first.evaluate()
    assert {name: judged[name] for name in figures} == figures
    assert first.evaluate("none")["mask_history"] == "none"
    assert first.settings["model"]["width"] == 16
    assert first.metrics.column("epoch").to_pylist() == [1, 2, 3, 4]
    assert pq.read_table(first.path / "eval" / "per_user.parquet").num_rows == len(first.users)


def test_vectors_make_the_scores_and_neighbours(first):
    history = ["i01", "i02", "i05"]
    vectors = first.item_vectors()
    products = vectors @ first.user_vectors([history])[0]
    assert np.allclose(products, first.scores(history), atol=1e-5)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = dict(zip(first.items, units @ units[first.items.index("i05")], strict=True))
    nearest = sorted(set(first.items) - {"i05"}, key=lambda item: -cosines[item])[:5]
    table = first.similar("i05", top=5)
    assert table.column("item_id").to_pylist() == nearest
    assert table.column("similarity").to_pylist() == pytest.approx(
        [cosines[item] for item in nearest], abs=1e-5
    )
    assert first.similar("i05", top=99).num_rows == 39


def test_gates_and_experts_sum_to_one(first):
    assert np.allclose(first.gates().sum(axis=-1), 1)
    weights = first.expert_weights()
    assert np.allclose(weights.sum(axis=1), 1)
    # i00 has no image.
    assert weights[first.items.index("i00")].tolist() == [1.0, 0.0]
    assert np.array_equal(first.expert_weights(["i07", "i00"]), weights[[7, 0]])


def test_a_model_that_counts_has_scores_and_no_vectors(world):
    run = api.open_run(world / "runs" / "popularity", device="cpu")
    assert run.recommend(user="u001").num_rows == 10
    assert run.scores(["i01"]).shape == (40,)
    for ask in (run.item_vectors, run.gates, run.expert_weights, lambda: run.similar("i01")):
        with pytest.raises(api.UsageError, match="popularity"):
            ask()


@pytest.mark.parametrize(
    ("ask", "error", "match"),
    [
        (lambda run: run.recommend(), api.UsageError, "one of history and user"),
        (
            lambda run: run.recommend(["i01"], user="u001"),
            api.UsageError,
            "one of history and user",
        ),
        (
            lambda run: run.recommend(user="nobody"),
            KeyError,
            "user nobody: not among the 150 users",
        ),
        (lambda run: run.recommend([]), api.UsageError, "at least one item"),
        (lambda run: run.recommend(["i01"], top=0), api.UsageError, "top to be at least 1"),
        (lambda run: run.recommend(["i01"], top=1.5), api.UsageError, "whole number, got 1.5"),
        (lambda run: run.similar("i01", top=-1), api.UsageError, "top to be at least 1"),
        (lambda run: run.similar("i01", top="3"), api.UsageError, "whole number, got '3'"),
        (lambda run: run.scores(), api.UsageError, "one of history and user"),
        (lambda run: run.user_vectors(None), api.UsageError, "histories, each a list"),
        (lambda run: run.evaluate("nothing"), api.UsageError, "all, unseen-only, none, got"),
        (lambda run: run.scores("i01"), api.UsageError, "sequence of item ids"),
        (lambda run: run.scores(["nope"]), KeyError, "not among the 40 items of the run"),
        (lambda run: run.user_vectors(["i01"]), api.UsageError, "a sequence of histories"),
        (lambda run: run.user_vectors([[]]), api.UsageError, r"histories\[0\]"),
        (lambda run: run.similar("nope"), KeyError, "nope"),
        (lambda run: run.expert_weights(["nope"]), KeyError, "nope"),
    ],
)
def test_a_question_that_means_nothing_is_refused(first, ask, error, match):
    with pytest.raises(error, match=match):
        ask(first)


def test_a_folder_without_a_run_is_said(tmp_path):
    with pytest.raises(api.UsageError, match="no run at"):
        api.open_run(tmp_path)
