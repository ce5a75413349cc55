"""Two stores of one modality as two towers: trained, resumed, evaluated, exported and served."""

import json
import shutil

import numpy as np
import pytest
import torch

from crossan.cache_schema.errors import DataError, StoreNotFoundError, UsageError
from crossan.cache_schema.modality import Modality
from crossan.common.stores import open_store
from crossan.train.cli import analyse, evaluate, export, recommend, train
from crossan.train.report.cli import report
from crossan.train.report.gates import _letters
from crossan.train.runs.opening import open_run
from crossan.train.runs.vectors import item_vectors
from crossan.train.service.recommender.ranking import Query, scores_of
from crossan.train.settings.tower import NamedTower, in_order, tower_of
from support.commands import QUICK, run, train_in
from support.fabricated import write_small, write_store
from support.stopping import Died, die_at_step

SETTINGS = (*QUICK, "max_epochs=2", "features.standardise=layer", "model.gate_temperature=0.5")
ALL_ITEMS = [f"i{topic}{item}" for topic in range(4) for item in range(10)]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two text stores, of which one lacks i03, and one image store."""
    place = write_small(tmp_path_factory.mktemp("two"))
    write_store(place / "c", Modality.TEXT, name="another", absent={"i03"})
    return place


def text_stores(place):
    return sorted((place / "c/small/text").iterdir())


def named(*stores):
    return [part for store in stores for part in ("--store", store)]


def run_train(place, *more, out="r", settings=SETTINGS):
    trained = train_in(place, settings, *named(*text_stores(place)), *more, out=out)
    return json.loads(trained.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def result(place):
    return run_train(place)


def weights(folder):
    return (folder / "checkpoints/best/model.safetensors").read_bytes()


def test_each_store_is_a_tower_in_a_fixed_order(place, result):
    """However they are named on the command line."""
    lock = json.loads((place / "r/cache.lock.json").read_text())["stores"]
    another, made_up = (f"text:{store.name}" for store in text_stores(place))
    assert another.startswith("text:another-")
    assert list(lock) == [another, made_up, "image"]
    opened = open_run(place / "r", device="cpu")
    assert [tower.value for tower in opened.features.modalities] == [*lock]
    row = {item: n for n, item in enumerate(opened.kept.item_ids)}
    assert opened.features.presence[row["i03"]].tolist() == [False, True, True]
    assert opened.features.presence[row["i15"]].tolist() == [True, True, False]
    # Gates of three towers, over three previous outputs and the hidden state.
    gates = opened.model.item_encoder.towers.gate_weights()
    assert (gates.shape[0], gates.shape[2]) == (3, 4)
    turned = named(*reversed(text_stores(place)))
    train_in(place, SETTINGS, *turned, out="turned")
    assert weights(place / "turned") == weights(place / "r")


def test_the_vectors_are_those_of_the_stores_read_by_hand(place, result):
    opened = open_run(place / "r", device="cpu")
    hidden, presence = [], []
    for store in (*text_stores(place), *(place / "c/small/image").iterdir()):
        one = open_store(store)
        rows = np.searchsorted(one.item_ids, opened.kept.item_ids)
        states = torch.from_numpy(one.read(rows, one.layers, is_mapped=False)).double()
        is_present = torch.from_numpy(one.presence[rows])
        mean = states[is_present].mean(dim=0)
        deviation = (states[is_present] - mean).square().mean(dim=(0, 2)).sqrt().unsqueeze(1)
        hidden.append(((states - mean) / deviation).half())
        presence.append(is_present)
    by_hand = opened.model.item_encoder.plain(hidden, torch.stack(presence, dim=1))
    assert torch.allclose(item_vectors(opened), by_hand, atol=2e-2)
    turned = [hidden[1], hidden[0], hidden[2]]
    other = opened.model.item_encoder.plain(turned, torch.stack(presence, dim=1))
    assert not torch.allclose(other, by_hand, atol=0.1)


def test_a_store_under_two_names_gives_what_its_tower_gives_twice(place, tmp_path):
    """Frozen towers whose weights are made equal: the same output in both places."""
    shutil.copytree(place / "d", tmp_path / "d")
    store = text_stores(place)[1]
    copies = [tmp_path / "c/small/text" / name for name in ("first", "second")]
    for copy in copies:
        shutil.copytree(store, copy)
    train_in(tmp_path, (*QUICK, "max_epochs=1"), "--model", "frozen", *named(*copies), out="r")
    encoder = open_run(tmp_path / "r", device="cpu").model.item_encoder
    opened = open_run(tmp_path / "r", device="cpu")
    hidden, presence = opened.features.gather(torch.arange(len(opened.kept.item_ids)))
    assert [tower.value for tower in opened.features.modalities] == ["text:first", "text:second"]
    assert torch.equal(hidden[0], hidden[1])
    with torch.no_grad():
        for parameter in encoder.towers.parameters():
            if parameter.ndim and len(parameter) == 2:
                parameter[1] = parameter[0]
        outputs, plain = encoder.towers(hidden, presence), encoder.towers.plain(hidden, presence)
    assert torch.equal(outputs[:, 0], outputs[:, 1])
    assert torch.allclose(outputs, plain, atol=1e-5)


def test_a_run_that_died_ends_as_if_it_had_not(place, result, monkeypatch):
    with monkeypatch.context() as patch:
        die_at_step(patch, 4)
        with pytest.raises(Died):
            run_train(place, "--set", "checkpoint.every_steps=2", out="died")
    assert run_train(place, "--resume", out="died")["test"] == result["test"]
    assert weights(place / "died") == weights(place / "r")


def test_it_is_evaluated_recommended_exported_and_served(place, result):
    again = json.loads(run(evaluate, place / "r", "--json").stdout)
    assert again["test"] == result["test"]
    elsewhere = run(evaluate, place / "r", "--cache", place / "c", "--json")
    assert json.loads(elsewhere.stdout)["test"] == result["test"]
    shown = json.loads(
        run(recommend, place / "r", "--history", "i00,i01", "--top", "5", "--json").stdout
    )["items"]
    run(export, place / "r", "--out", place / "e", "--json")
    stores = json.loads((place / "e/manifest.json").read_text())["stores"]
    assert list(stores) == [*(f"text:{one.name}" for one in text_stores(place)), "image"]
    opened = open_run(place / "r", device="cpu")
    history = np.searchsorted(opened.kept.item_ids, ["i00", "i01"])
    (best,) = scores_of(opened.model, opened.features, 10).best([Query(history, history, 5)])
    assert opened.kept.item_ids[best.rows].tolist() == [item["item_id"] for item in shown]


def test_its_page_and_its_analysis_name_each_tower(place, result):
    said = json.loads(run(analyse, place / "r", "--json").stdout)
    towers = [*json.loads((place / "r/cache.lock.json").read_text())["stores"]]
    assert list(dict.fromkeys(gate["modality"] for gate in said["gates"])) == towers
    run(report, place / "r", "--out", place / "page.html", "--quick")
    page = (place / "page.html").read_text()
    assert all(f"{tower} tower" in page for tower in towers)


def test_a_hybrid_of_it_reads_the_same_towers(place, result):
    of = ("--model", "hybrid", "--of", place / "r", "--device", "cpu", "--json")
    made = json.loads(run(train, *of, "--out", place / "h").stdout.splitlines()[-1])
    one, other = (
        json.loads((place / name / "cache.lock.json").read_text())["stores"] for name in ("r", "h")
    )
    assert list(one) == list(other)
    assert one == other
    again = json.loads(run(evaluate, place / "h", "--json").stdout)
    assert (again["valid"], again["test"]) == (made["valid"], made["test"])
    moved = run(train, *of, "--cache", place / "c", "--out", place / "h-moved")
    assert json.loads(moved.stdout.splitlines()[-1])["test"] == made["test"]


def test_an_item_that_one_of_the_two_never_saw_is_dropped_or_named(tmp_path):
    write_small(tmp_path)
    write_store(tmp_path / "c", Modality.TEXT, name="partly", items=ALL_ITEMS[:-1])
    partly = next(store for store in text_stores(tmp_path) if store.name.startswith("partly"))
    with pytest.raises(DataError, match=rf"text:{partly.name} has 39 items, 1 of the dataset's"):
        run_train(tmp_path)
    result = run_train(tmp_path, "--drop-items")
    assert result["items"] == 39
    assert json.loads(run(evaluate, tmp_path / "r", "--json").stdout)["test"] == result["test"]


def test_a_modality_that_is_not_chosen_is_not_read(place):
    run_train(place, "--modality", "text", "--set", "max_epochs=1", out="text alone")
    lock = json.loads((place / "text alone/cache.lock.json").read_text())["stores"]
    assert [name.partition(":")[0] for name in lock] == ["text", "text"]


def test_the_same_store_twice_is_refused(place):
    store = text_stores(place)[0]
    with pytest.raises(UsageError, match="in folders of different names, found another-.* twice"):
        train_in(place, SETTINGS, *named(store, store), out="twice")


@pytest.mark.parametrize("kind", ["freedom", "mgcn", "mmgcn"])
def test_a_model_that_tells_modalities_apart_is_refused(place, kind):
    settings = ("max_epochs=1",)
    with pytest.raises(UsageError, match=f"--model {kind}: expected one store of each modality"):
        run_train(place, "--model", kind, out=kind, settings=settings)
    assert not (place / kind / "cache.lock.json").exists()


def test_a_store_that_is_gone_is_named(place, result, tmp_path):
    with pytest.raises(StoreNotFoundError, match="expected the text store another-"):
        run(evaluate, place / "r", "--cache", tmp_path)


def test_towers_by_name():
    assert tower_of("text") is Modality.TEXT
    assert tower_of("image:vit-0123") == NamedTower(Modality.IMAGE, "vit-0123")
    for name in ("smell", "text:", "text:a/b", "text:a\nb", "smell:a", f"text:{'a' * 256}"):
        with pytest.raises(ValueError, match="expected one of text, image, video, audio"):
            tower_of(name)
    names = ["audio", "image:b", "text", "image:a"]
    assert [one.value for one in in_order(map(tower_of, names))] == [
        "text", "image:a", "image:b", "audio",
    ]  # fmt: skip
    assert _letters([tower_of(name) for name in ("image:a", "image:b", "text")]) == [
        "I1",
        "I2",
        "T",
    ]


def test_as_many_towers_are_chosen_as_there_are_stores(tmp_path):
    place = write_small(tmp_path)
    for name in ("one", "two", "three"):
        write_store(place / "c", Modality.TEXT, name=name)
    settings = (*QUICK, "max_epochs=1", "model.kind=frozen")
    result = run_train(place, "--set", "model.top_k=5", settings=settings)
    assert result["epochs"] == 1
    momef = open_run(place / "r", device="cpu").model.item_encoder.fusion
    assert momef.router.out_features == 5
    with pytest.raises(UsageError, match="model.top_k: expected at most 5, the number of towers"):
        run_train(place, "--set", "model.top_k=6", settings=settings, out="six")
