"""crossan.api beyond its examples: ids that are unknown, code of one's own, what commands give too."""

import json
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from crossan import api
from crossan.cache_schema.errors import StoreNotFoundError
from crossan.cache_schema.identity import StoreIdentity
from crossan.cache_schema.modality import ItemStatus, Modality
from crossan.common.code_names import ALLOW_CODE
from crossan.common.stores import ItemRow, Journal, create_store, encode_rows, store_folder
from crossan.train.cli import evaluate, recommend
from support.commands import run as run_command
from support.distributions import look_anew
from support.fabricated import write_rows, write_store

SMALL = {"model.width": 16, "max_epochs": 1, "batch_size": 32, "optimiser": {"lr": 0.01}}


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
        ([""], api.UnknownIdError, "not among the 40"),
        ("i00", api.UsageError, "expected a sequence of item ids, got 'i00'"),
        ([7], api.UsageError, "expected item ids as text, got 7 of type int"),
        (7, api.UsageError, "expected a sequence of item ids, got 7"),
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
        (lambda run: run.scores("i01"), api.UsageError, "sequence of item ids"),
        (lambda run: run.scores(["nope"]), KeyError, "not among the 40 items of the run"),
        (lambda run: run.user_vectors(["i01"]), api.UsageError, "a list of histories"),
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


def test_training_gives_the_bytes_of_the_command(world, tmp_path):
    """The run of the fixture was trained by crossan-train; this is the same from Python."""
    settings = (world / "runs" / "first" / "config.toml").read_text()
    (tmp_path / "same.toml").write_text(settings)
    run = api.train(
        dataset=world / "d", cache=world / "c", out=tmp_path / "r", device="cpu",
        settings=tmp_path / "same.toml",
    )  # fmt: skip
    weights = "checkpoints/best/model.safetensors"
    assert (run.path / weights).read_bytes() == (world / "runs/first" / weights).read_bytes()
    assert run.result["test"] == api.open_run(world / "runs" / "first").result["test"]
    again = api.train(
        dataset=world / "d", cache=world / "c", out=tmp_path / "r", device="cpu", resume=True,
        settings=tmp_path / "same.toml",
    )  # fmt: skip
    assert again.result == run.result


@pytest.mark.parametrize(
    ("more", "match"),
    [
        (
            {"settings": {"model.wdith": 3}},
            "unknown setting 'model.wdith'; did you mean 'model.width'",
        ),
        ({"max_epoch": 3}, "unknown setting 'max_epoch'; did you mean 'max_epochs'"),
        ({"optimiser__lr": -1.0}, "optimiser.lr"),
        ({"settings": ["a=1"]}, "expected a TOML file or a mapping"),
        ({"model": "crossam"}, "did you mean 'crossan'"),
        ({"fusion": "momeff"}, "did you mean 'momef'"),
    ],
)
def test_a_wrong_setting_is_refused_before_anything_is_written(world, tmp_path, more, match):
    with pytest.raises(api.UsageError, match=match):
        api.train(dataset=world / "d", cache=world / "c", out=tmp_path / "r", **more)
    assert not (tmp_path / "r").exists()


def test_a_recipe_stands_below_what_is_given(world, tmp_path):
    run = api.train(
        dataset=world / "d", cache=world / "c", out=tmp_path / "r", device="cpu",
        recipe="table3/50k-TI", settings={"model.width": 16, "model.bottleneck_dim": 8},
        max_epochs=1, batch_size=32, model__top_k=2,
    )  # fmt: skip
    assert (run.settings["model"]["width"], run.settings["max_epochs"]) == (16, 1)
    assert run.settings["data"]["modality"] == ["text", "image"]  # the row's
    assert (run.path / "recipe.json").is_file()
    with pytest.raises(api.UsageError, match="table3/50k-XY"):
        api.train(dataset=world / "d", out=tmp_path / "other", recipe="table3/50k-XY")


MODULE = """
import torch


class Mean(torch.nn.Module):
    def __init__(self, modality_count, width):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(width))

    def forward(self, outputs, presence):
        return self.scale * outputs.sum(dim=1) / presence.sum(dim=1, keepdim=True)


def bpr(batch):
    positive = batch.scores.gather(1, batch.positive[:, None])
    terms = torch.nn.functional.softplus(batch.scores - positive)
    return (terms * batch.is_negative).sum() / batch.is_negative.sum().clamp(min=1)
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module of the user's own, importable by its name."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "shop_parts_of_mine.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    look_anew()
    import shop_parts_of_mine as module

    yield module
    del sys.modules["shop_parts_of_mine"]


def test_parts_of_a_module_are_recorded_and_opened_where_they_are_allowed(
    world, tmp_path, own, monkeypatch, capsys
):
    run = api.train(
        dataset=world / "d", cache=world / "c", out=tmp_path / "r", device="cpu", model="frozen",
        fusion=own.Mean, objective=own.bpr, settings=SMALL,
    )  # fmt: skip
    assert "no module that another process can import" not in capsys.readouterr().err
    assert run.settings["model"]["fusion"] == "shop_parts_of_mine:Mean"
    assert run.settings["objective"]["kind"] == "shop_parts_of_mine:bpr"
    best = run.recommend(user="u001").to_pylist()
    with pytest.raises(
        api.ConfigError, match="model.fusion=shop_parts_of_mine:Mean: expected leave"
    ):
        run_command(evaluate, run.path, "--json")
    with pytest.raises(api.ConfigError, match=f"{ALLOW_CODE}=shop_parts_of_mine"):
        api.open_run(run.path).recommend(user="u001")
    assert api.open_run(run.path, fusion=own.Mean).recommend(user="u001").to_pylist() == best
    monkeypatch.setenv(ALLOW_CODE, "shop_parts_of_mine")
    assert (
        json.loads(run_command(evaluate, run.path, "--json").stdout)["test"] == run.result["test"]
    )
    shown = json.loads(run_command(recommend, run.path, "--user", "u001", "--json").stdout)
    assert [item["item_id"] for item in shown["items"]] == [item["item_id"] for item in best]


def test_a_class_of_a_notebook_is_said_to_be_lost_and_opens_where_it_is_passed(
    world, tmp_path, own, capsys
):
    class Mine(own.Mean):
        pass

    run = api.train(
        dataset=world / "d", cache=world / "c", out=tmp_path / "r", device="cpu", model="frozen",
        fusion=Mine, settings=SMALL,
    )  # fmt: skip
    said = capsys.readouterr().err
    assert "fusion: " in said
    assert "open_run(..., fusion=...)" in said
    best = run.recommend(user="u001").to_pylist()
    with pytest.raises(api.ConfigError, match="defined in a notebook, a script or a function"):
        api.open_run(run.path).item_vectors()
    assert api.open_run(run.path, fusion=Mine).recommend(user="u001").to_pylist() == best
    with pytest.raises(api.UsageError, match="objective: expected none, .* but with in-batch"):
        api.open_run(run.path, fusion=Mine, objective=own.bpr)


@pytest.mark.parametrize(
    ("fusion", "match"),
    [
        (lambda modality_count, width: "nothing", "expected a subclass of nn.Module"),
        (3, "a class, a function or an object that a module has a name for"),
    ],
)
def test_what_is_no_fusion_is_refused(world, tmp_path, fusion, match):
    with pytest.raises(api.ConfigError, match=match):
        api.train(
            dataset=world / "d", cache=world / "c", out=tmp_path / "r", model="frozen",
            fusion=fusion, settings=SMALL,
        )  # fmt: skip
    assert not (tmp_path / "r").exists()
