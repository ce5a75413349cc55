"""A hybrid of runs, registered and served by a process while its runs are gone."""

import json
import shutil

import pytest

from crossan.train.cli import recommend
from crossan.train.service.database import Database
from crossan.train.service.folder import ServiceFolder
from crossan.train.service.registry import Registry
from crossan.train.service.serving import Serving
from support.commands import run, train_quickly
from support.fabricated import write_rows, write_small
from support.hybrids import make_hybrid, sequences
from support.registered import a_row
from support.started import wait_until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    place = write_small(tmp_path_factory.mktemp("served"))
    shutil.rmtree(place / "d")
    write_rows(place / "d", sequences())
    train_quickly(place, "--model", "frozen", out="content", epochs=1)
    train_quickly(place, "--model", "sasrec", out="ids", epochs=1)
    result = make_hybrid(place, "content", "ids")
    folder = ServiceFolder(place / "service")
    folder.path.mkdir()
    database = Database(folder.database)
    registry = Registry(database, folder)
    model = registry.register(place / "h", None, a_row(database), "ann")
    for name in ("content", "ids", "h"):
        shutil.rmtree(place / name)
    registry.promote("production", 1, 0, "ann")
    serving = Serving(registry, folder)
    serving.start()
    wait_until(lambda: serving.loaded() == 1, "the hybrid is loaded", pause=0.05)
    yield serving, model, result
    serving.stop()
    database.close()


@pytest.mark.parametrize("new", [0, 2, 6])
@pytest.mark.parametrize("user", ["u001", "u064", "u149"])
def test_it_answers_as_the_command_does_with_new_items(shop, user, new):
    serving, model, _ = shop
    command = ("--user", user, "--top", 6, "--new", new, "--json")
    said = json.loads(run(recommend, model.served_run, *command).stdout.splitlines()[-1])
    answer = serving.ask({"user": user, "top": 6, "new": new, "mask_history": "all"})
    assert [one["item_id"] for one in answer["items"]] == [one["item_id"] for one in said["items"]]
    assert [one["score"] for one in answer["items"]] == pytest.approx(
        [one["score"] for one in said["items"]], abs=1e-5
    )


def test_its_card_has_the_figures_of_the_hybrid(shop):
    _, model, result = shop
    figures = model.card["figures"]
    assert (figures["model"], figures["test"]) == ("hybrid-of-runs", result["test"])
