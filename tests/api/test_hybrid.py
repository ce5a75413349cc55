"""A hybrid of runs by crossan.api: what the command makes, and what it has no answer to."""

import json

import pytest

from crossan import api
from crossan.train.cli import evaluate, train
from support.commands import run as run_command
from support.commands import train_quickly

WEIGHTS = "checkpoints/best/model.safetensors"


@pytest.fixture(scope="module")
def place(world, tmp_path_factory):
    """A run of content and one of ids, in a folder with the hybrid that the command makes of them."""
    place = tmp_path_factory.mktemp("hybrids")
    for name in ("d", "c"):
        (place / name).symlink_to(world / name)
    train_quickly(place, "--model", "frozen", out="content", epochs=1)
    train_quickly(place, "--model", "sasrec", out="ids", epochs=1)
    of = f"{place / 'content'},{place / 'ids'}"
    run_command(
        train, "--model", "hybrid", "--of", of, "--out", place / "h", "--device", "cpu",
        "--set", "model.cold_loss=0.01",
    )  # fmt: skip
    return place


@pytest.mark.parametrize("model", ["hybrid", "hybrid-of-runs", None])
def test_it_is_the_hybrid_of_the_command(place, tmp_path, model):
    of = [api.open_run(place / "content"), str(place / "ids")]
    run = api.train(model=model, of=of, out=tmp_path / "h", device="cpu", model__cold_loss=0.01)
    assert (run.path / WEIGHTS).read_bytes() == (place / "h" / WEIGHTS).read_bytes()
    by_command = api.open_run(place / "h", device="cpu")
    assert run.settings == by_command.settings
    assert run.result["mixture"] == by_command.result["mixture"]
    assert run.recommend(user="u001").equals(by_command.recommend(user="u001"))
    again = json.loads(run_command(evaluate, run.path, "--json").stdout.splitlines()[-1])
    assert again["test"] == run.result["test"]


def test_data_that_were_moved_are_named(place, tmp_path, world):
    run = api.train(
        of=[place / "content"], out=tmp_path / "h", device="cpu",
        dataset=api.open_dataset(world / "data"), cache=world / "cache",
    )  # fmt: skip
    assert run.settings["data"]["dataset"] == str(world / "data")
    assert run.settings["data"]["store"][0].startswith(str(world / "cache"))


@pytest.mark.parametrize(
    ("more", "match"),
    [
        ({"of": []}, "expected at least one finished run, got none"),
        ({"of": "runs/first"}, "expected a sequence of runs or run folders, got 'runs/first'"),
        ({"of": ["content"], "model": "sasrec"}, "expected model='hybrid' with it, got 'sasrec'"),
        ({"of": ["nowhere"]}, "no run at"),
        ({}, "expected a dataset, or runs of one in of, got neither"),
    ],
)
def test_what_makes_no_hybrid_is_refused(place, tmp_path, monkeypatch, more, match):
    monkeypatch.chdir(place)
    with pytest.raises(api.UsageError, match=match):
        api.train(out=tmp_path / "refused", **more)
    assert not (tmp_path / "refused").exists()


@pytest.mark.parametrize(
    "question",
    [
        lambda run: run.item_vectors(),
        lambda run: run.similar("i01"),
        lambda run: run.user_vectors([["i01"]]),
    ],
    ids=["item_vectors", "similar", "user_vectors"],
)
def test_it_says_whom_to_ask_for_vectors(place, question):
    run = api.open_run(place / "h", device="cpu")
    with pytest.raises(
        api.UsageError, match="got a hybrid of runs, which adds a Markov"
    ) as refused:
        question(run)
    assert f"{place / 'content'}, {place / 'ids'}" in refused.value.remedy
    assert f"crossan recommend {place / 'h'} --user" in refused.value.remedy
    assert api.open_run(place / "content", device="cpu").similar("i01", top=2).num_rows == 2
