"""Runs, datasets and caches that lie elsewhere than where a run was trained: found, told, or refused."""

import json
import shutil

import pytest

from crossan.cache_schema.errors import IncompatibleError, StoreNotFoundError, UsageError
from crossan.cache_schema.modality import Modality
from crossan.train.cli import evaluate, recommend
from crossan.train.record.run_folder import RunFolder
from crossan.train.report.cli import report
from support.commands import run, train_quickly
from support.fabricated import make_sequences, write_rows, write_small, write_store


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with dataset ``d``, cache ``c`` and the run ``r``; copied by each test."""
    folder = tmp_path_factory.mktemp("trained")
    write_small(folder)
    train_quickly(folder, epochs=1)
    return folder


@pytest.fixture
def place(trained, tmp_path):
    """The same, moved as a whole to a folder of the test's own."""
    was, now = tmp_path / "was", tmp_path / "now"
    shutil.copytree(trained, was)
    for path in was.glob("r/*.*"):
        if path.suffix in {".toml", ".json"}:
            path.write_text(path.read_text().replace(str(trained), str(was)))
    was.rename(now)
    return now


def expected(trained):
    return json.loads((trained / "r/result.json").read_text())


def figures(result):
    return {name: result[name] for name in ("valid", "test", "users", "items", "contents")}


def test_a_run_that_was_moved_with_its_data_opens(trained, place):
    evaluated = run(evaluate, place / "r", "--json")
    result = json.loads(evaluated.stdout)
    assert figures(result) == figures(expected(trained))
    assert result["dataset_changed"] is False
    was_at = place.parent / "was" / "d"
    assert (
        f"{was_at}: no dataset there now; reading {place / 'd'}, which was moved with the run"
    ) in evaluated.stderr
    shown = run(recommend, place / "r", "--user", "u001", "--top", "3", "--json")
    assert len(json.loads(shown.stdout)["items"]) == 3
    run(report, place / "r")


def test_data_that_was_moved_alone_is_asked_for_and_opens_where_it_is_said_to_be(trained, place):
    (place / "d").rename(place / "data")
    (place / "c").rename(place / "stores")
    with pytest.raises(StoreNotFoundError, match="expected the text store that the run") as caught:
        run(evaluate, place / "r")
    assert caught.value.remedy == "Name the folder of stores where it lies now: --cache FOLDER"
    with pytest.raises(UsageError, match="expected the dataset that .*r was trained on") as caught:
        run(evaluate, place / "r", "--cache", place / "stores")
    assert caught.value.remedy == "Name the folder where it lies now: --dataset FOLDER"
    where = ("--dataset", place / "data", "--cache", place / "stores")
    evaluated = json.loads(run(evaluate, place / "r", *where, "--json").stdout)
    assert figures(evaluated) == figures(expected(trained))
    run(recommend, place / "r", *where, "--user", "u001")
    run(report, place / "r", *where)


def test_other_data_is_refused_and_what_differs_is_named(place):
    rows = make_sequences()
    write_rows(place / "shorter", rows[:-60])
    write_rows(place / "other", make_sequences(seed=1))
    for name in ("shorter", "other"):
        where = ("--dataset", place / name)
        for command, more in ((evaluate, ()), (recommend, ("--user", "u001")), (report, ())):
            with pytest.raises(IncompatibleError) as caught:
                run(command, place / "r", *where, *more)
            assert f"--dataset {place / name}: not the data that" in caught.value.message
            assert "expected 150 users, 40 items and " in caught.value.message
            assert "digest" in caught.value.message
            assert caught.value.exit_code == 5
    assert not (place / "r" / "report.html").exists()


def test_the_same_data_under_another_name_is_the_same(trained, place):
    """A colleague imports it anew, and pulls the stores into a cache that has others too."""
    write_rows(place / "elsewhere", make_sequences())
    (place / "shared").mkdir()
    shutil.move(place / "c/small", place / "shared/their name")
    write_store(place / "shared", Modality.TEXT, name="another")
    where = ("--dataset", place / "elsewhere", "--cache", place / "shared")
    evaluated = json.loads(run(evaluate, place / "r", *where, "--json").stdout)
    assert figures(evaluated) == figures(expected(trained))


def test_another_store_or_history_is_refused(place):
    write_store(place / "empty", Modality.TEXT, name="another")
    with pytest.raises(StoreNotFoundError, match="found 1 other stores of text"):
        run(evaluate, place / "r", "--cache", place / "empty")
    write_store(place / "again", Modality.TEXT)  # the same identity, another history
    write_store(place / "again", Modality.IMAGE)
    with pytest.raises(IncompatibleError, match="another store of the same recipe, or its history"):
        run(evaluate, place / "r", "--cache", place / "again")


def test_a_dataset_that_has_changed_in_its_place_is_said(place):
    shutil.rmtree(place / "d")
    write_rows(place / "d", make_sequences()[:-60])
    config = place / "r" / "config.toml"
    config.write_text(config.read_text().replace(str(place.parent / "was"), str(place)))
    evaluated = run(evaluate, place / "r", "--json")
    assert json.loads(evaluated.stdout)["dataset_changed"] is True
    assert "the dataset has changed since this run was trained: expected 150" in evaluated.stderr


def test_a_moved_run_is_resumed_on_the_same_data_alone(place):
    place.joinpath("d").rename(place / "data")
    write_rows(place / "d", make_sequences(seed=1))
    with pytest.raises(IncompatibleError, match="the dataset has changed since this run was start"):
        train_quickly(place, "--resume", epochs=2)
    shutil.rmtree(place / "d")
    place.joinpath("data").rename(place / "d")
    assert train_quickly(place, "--resume", epochs=2)["epochs"] == 2
    # From now on it is at home here.
    assert RunFolder(place / "r").settings().data.dataset == str(place / "d")
    assert RunFolder(place / "r").old_path() == place / "r"
    shutil.move(place / "c", place / "stores")
    with pytest.raises(StoreNotFoundError):
        run(evaluate, place / "r")


def test_a_run_that_recorded_no_folder_is_looked_for_where_it_says(place):
    environment = json.loads((place / "r/env.json").read_text())
    del environment["folder"]
    (place / "r/env.json").write_text(json.dumps(environment))
    with pytest.raises(UsageError, match="--cache FOLDER"):
        run(evaluate, place / "r")
    run(evaluate, place / "r", "--dataset", place / "d", "--cache", place / "c")
