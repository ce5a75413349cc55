"""Trained models, registered and served by processes of the recommender."""

import json
import os
import shutil
import signal
from types import SimpleNamespace

import numpy as np
import pytest

from crossan.cache_schema.modality import ItemStatus, Modality
from crossan.common.stores import ItemRow, Journal, find_stores, open_store
from crossan.train.cli import evaluate, recommend
from crossan.train.service.database import Database
from crossan.train.service.folder import ServiceFolder
from crossan.train.service.registry import Registry
from crossan.train.service.serving import Serving
from support.commands import run, train_quickly
from support.fabricated import PER_TOPIC, TOPICS, make_sequences, write_rows, write_small
from support.registered import a_row
from support.started import wait_until

ITEMS = [f"i{topic}{item}" for topic in range(TOPICS) for item in range(PER_TOPIC)]
pytestmark = pytest.mark.slow
WISH = {"user": "u001", "top": 5, "mask_history": "all"}


def last_json(result):
    return json.loads(result.stdout.splitlines()[-1])


def eventually(condition):
    wait_until(condition, "it to come true", pause=0.05)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """Two versions of models whose run folders are gone, the first in production."""
    place = write_small(tmp_path_factory.mktemp("shop"))
    folder = ServiceFolder(place / "service")
    folder.path.mkdir()
    database = Database(folder.database)
    registry = Registry(database, folder)
    figures = []
    for kind in ("crossan", "popularity"):
        figures.append(train_quickly(place, "--model", kind, out=kind, epochs=1))
        registry.register(place / kind, None, a_row(database), "ann")
        shutil.rmtree(place / kind)
    registry.promote("production", 1, 0, "ann")
    serving = Serving(registry, folder)
    serving.start()
    eventually(lambda: serving.loaded() == 1)
    yield SimpleNamespace(place=place, registry=registry, serving=serving, figures=figures)
    serving.stop()
    database.close()


def by_command(shop, version):
    path = shop.registry.get(version).served_run
    return last_json(run(recommend, path, "--user", "u001", "--top", "5", "--json"))["items"]


def test_a_version_is_a_run_that_the_commands_open(shop):
    for version, figures in enumerate(shop.figures, 1):
        path = shop.registry.get(version).judged_run
        again = last_json(run(evaluate, path, "--device", "cpu", "--json"))
        assert again["test"] == pytest.approx(figures["test"])
        assert shop.registry.verify(version).card["figures"]["test"] == figures["test"]


def test_it_answers_as_the_command_does(shop):
    answer = shop.serving.ask(WISH)
    assert answer["version"] == 1
    assert [item["item_id"] for item in answer["items"]] == [
        item["item_id"] for item in by_command(shop, 1)
    ]


def test_another_model_takes_over_and_back(shop):
    expected = [[item["item_id"] for item in by_command(shop, version)] for version in (1, 2)]
    assert expected[0] != expected[1]
    first = shop.serving._current
    shop.registry.promote("production", 2, shop.registry.alias("production").revision, "ann")
    eventually(lambda: shop.serving.ask(WISH)["version"] == 2)
    assert [item["item_id"] for item in shop.serving.ask(WISH)["items"]] == expected[1]
    shop.registry.rollback("production", shop.registry.alias("production").revision, "ann")
    eventually(lambda: shop.serving.ask(WISH)["version"] == 1)
    assert shop.serving._current is first  # which is why it takes no second
    assert [item["item_id"] for item in shop.serving.ask(WISH)["items"]] == expected[0]


def test_a_killed_process_is_replaced(shop):
    killed = shop.serving._current.pid
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: getattr(shop.serving._current, "pid", killed) != killed)
    assert shop.serving.ask(WISH)["version"] == 1


def test_a_new_item_is_recommended_soon_after_its_features_were_appended(shop):
    """Nobody has had it, and no process was started for it."""
    write_rows(shop.place / "d2", make_sequences(), items=[*ITEMS, "i0new"])
    for name in ("items.parquet", "dataset.json"):
        (shop.place / "d2" / name).replace(shop.place / "d" / name)
    for modality in (Modality.TEXT, Modality.IMAGE):
        (path,) = find_stores(shop.place / "c", "small", modality)
        store = open_store(path)
        (stored,) = store.read_stored(np.array([int(np.searchsorted(store.item_ids, "i03"))]))
        journal = Journal.open(path, "more")
        journal.append([ItemRow("i0new", None, ItemStatus.OK, None, stored)])
        journal.publish({})
        journal.close()
    pid = shop.serving._current.pid
    request = {"history": ["i03"], "top": 41, "mask_history": "none"}

    def scores():
        return {item["item_id"]: item["score"] for item in shop.serving.ask(request)["items"]}

    eventually(lambda: "i0new" in scores())
    assert scores()["i0new"] == pytest.approx(scores()["i03"], abs=1e-5)
    assert shop.serving._current.pid == pid
