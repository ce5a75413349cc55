"""crossan-train --refit: what is judged stays as it is, and what is served has seen everything."""

import ast
import json
import typing
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import crossan.train
from crossan import api
from crossan.cache_schema.errors import IncompatibleError, UsageError
from crossan.common.datasets import KeptSequences
from crossan.common.stores.growing.cli import gc
from crossan.train.cli import evaluate, export, recommend, train
from crossan.train.comparison.cli import compare
from crossan.train.loop import epochs, trainer
from crossan.train.loop.trainable import RefitRun, TrainableRun
from crossan.train.report.cli import report
from crossan.train.runs import refitting
from crossan.train.sequences.refit import RefitSequences
from support.commands import attempt, run, train_in
from support.fabricated import write_rows
from support.outcomes import outcome, unmeasured, unmeasured_bytes
from support.stopping import Died, at_step, die_at_step

SETTINGS = (
    "model.bottleneck_dim=8",
    "model.width=16",
    "optimiser.lr=0.01",
    "optimiser.adapter_lr=0.01",
    "optimiser.id_lr=0.01",
    "batch_size=32",
    "max_epochs=3",
    "average_epochs=1",
    "features.standardise=none",
    "checkpoint.every_steps=3",
)
SPLITS = ((), ("--set", "data.split=mmrec-random"))
EVERY_FIGURE = {"valid", "test", "cold_test", "popularity", "slices", "recommendations"}


def trained(place, *more, out, settings=SETTINGS):
    return json.loads(train_in(place, settings, *more, out=out).stdout.splitlines()[-1])


def refitted(run):
    """Return the outcome of a refit, whose last weights are the best ones."""
    result = json.loads((run / "refit/result.json").read_text())
    names = ("checkpoints/best/model", "checkpoints/last/model", "checkpoints/last/optimiser")
    files = [run / "refit" / f"{name}.safetensors" for name in names]
    return {
        "result": unmeasured(result),
        "metrics": unmeasured_bytes(run / "refit/metrics.jsonl"),
        **{str(file.relative_to(run)): file.read_bytes() for file in files if file.is_file()},
    }


def top(run_folder, history):
    result = run(recommend, run_folder, "--history", history, "--top", 1, "--json")
    return json.loads(result.stdout.splitlines()[-1])["items"][0]["item_id"]


@pytest.fixture(scope="module", params=SPLITS, ids=["leave-last-out", "mmrec-random"])
def runs(place, request):
    """A run without and one with a refit on all, and what the command of the second printed."""
    name = "random" if request.param else "last"
    trained(place, *request.param, out=f"plain-{name}")
    printed = trained(place, *request.param, "--refit", "all", out=f"x-{name}")
    return place / f"plain-{name}", place / f"x-{name}", printed


def test_the_judged_run_is_the_one_without_a_refit(runs):
    plain, judged, printed = runs
    assert outcome(plain) == outcome(judged)
    assert (plain / "config.toml").read_bytes() == (judged / "config.toml").read_bytes()
    refit = printed.pop("refit")
    assert printed == json.loads((judged / "result.json").read_text())
    assert refit == json.loads((judged / "refit/result.json").read_text())


def test_the_refit_says_what_it_is_and_has_no_figures(runs):
    _, judged, printed = runs
    result = json.loads((judged / "refit/result.json").read_text())
    state = json.loads((judged / "checkpoints/best/state.json").read_text())
    assert result["refit"] == {
        "trained_on": "all",
        "epochs": printed["best_epoch"],
        "judged": {
            "run": "..",
            "epoch": printed["best_epoch"],
            "sha256": state["sha256"]["model.safetensors"],
        },
    }
    recorded = json.loads((judged / "dataset.lock.json").read_text())
    assert result["interactions"] == recorded["interactions"]
    assert not EVERY_FIGURE & set(result)
    lines = [json.loads(line) for line in (judged / "refit/metrics.jsonl").read_text().splitlines()]
    assert [line["valid"] for line in lines] == [None] * printed["best_epoch"]
    assert not (judged / "refit/eval").exists()
    assert 'refit = "all"' in (judged / "refit/config.toml").read_text()


def test_a_refit_on_all_is_judged_by_nobody(runs):
    _, judged, _ = runs
    refit = judged / "refit"
    for command, arguments in (
        (evaluate, [refit]),
        (compare, [judged, refit]),
        (report, [refit, "--quick"]),
    ):
        result = attempt(command, *arguments)
        assert isinstance(result.exception, UsageError), command
        assert "trained on the validation and test items, too" in str(result.exception)
        assert result.exception.remedy.endswith(f"crossan compare {judged}")
        assert result.stdout == ""
    with pytest.raises(UsageError, match="found a refit"):
        api.open_run(judged / "refit", device="cpu").evaluate()


def test_a_refit_is_used_as_a_run_is(runs, tmp_path):
    _, judged, _ = runs
    refit = api.open_run(judged / "refit", device="cpu")
    assert refit.result["refit"]["trained_on"] == "all"
    assert refit.recommend(["i01"], top=3).num_rows == 3
    assert refit.metrics.column_names == ["epoch", "loss"]
    run(recommend, judged / "refit", "--all-users", "--out", tmp_path / "top.parquet")
    run(export, judged / "refit", "--out", tmp_path / "e")
    run(compare, judged, judged.parent / judged.name.replace("x-", "plain-"))
    run(report, judged, "--quick", "--out", tmp_path / "report.html")
    (store,) = (judged.parent / "c/small/text").iterdir()
    kept = run(gc, store, "--runs", judged, "--dry-run", "--json").stdout.splitlines()[-1]
    holders = {pin["holder"] for pin in json.loads(kept)["pins"]}
    assert {str(judged / name) for name in ("cache.lock.json", "refit/cache.lock.json")} <= holders


def planted(folder):
    """Everybody ends with i38 and i39: no part but the test items holds the step between them."""
    rows = [
        (f"u{user:03d}", item, time)
        for user in range(60)
        for time, item in enumerate(
            [*(f"i{(user + 3 * n) % 4}{(user + n) % 8}" for n in range(4)), "i38", "i39"]
        )
    ]
    write_rows(folder / "d", rows)
    return rows


@pytest.mark.parametrize("kind", ["bigram", "sasrec"])
def test_the_refit_knows_a_step_that_only_the_test_items_hold(place, tmp_path, kind):
    planted(tmp_path)
    (tmp_path / "c").symlink_to(place / "c")
    settings = (*(one for one in SETTINGS if "max_epochs" not in one), "max_epochs=30")
    for scope in ("validation", "all"):
        trained(tmp_path, "--model", kind, "--refit", scope, out=scope, settings=settings)
    assert top(tmp_path / "all", "i38") != "i39"
    assert top(tmp_path / "validation/refit", "i38") != "i39"
    assert top(tmp_path / "all/refit", "i38") == "i39"


def test_a_model_that_counts_has_counted_the_whole_log(tmp_path):
    rows = planted(tmp_path)
    trained(tmp_path, "--model", "popularity", "--refit", "all", out="x")
    counts = Counter(item for _, item, _ in rows)
    weights = load_file(tmp_path / "x/refit/checkpoints/best/model.safetensors")
    assert weights["counts"].tolist() == [counts[item] for item in sorted(counts)]
    judged = load_file(tmp_path / "x/checkpoints/best/model.safetensors")
    assert judged["counts"].sum() == 60 * 4  # of six items each, two held out


def test_popularity_is_that_of_what_is_trained_on(place, tmp_path, monkeypatch):
    rows = planted(tmp_path)
    (tmp_path / "c").symlink_to(place / "c")
    counted, count = [], epochs.training_counts

    def counting(items, item_count):
        counted.append(len(items))
        return count(items, item_count)

    monkeypatch.setattr(epochs, "training_counts", counting)
    trained(tmp_path, "--model", "sasrec", "--refit", "all", out="x")
    assert counted == [60 * 4, len(rows)]


def test_a_refit_on_validation_items_has_test_figures_of_its_own(place):
    trained(place, "--refit", "validation", out="v")
    result = json.loads((place / "v/refit/result.json").read_text())
    assert not EVERY_FIGURE & set(result)
    shown = run(evaluate, place / "v/refit")
    assert "test     crossan (refit)" in shown.stdout
    assert "valid" not in shown.stdout
    figures = json.loads(run(evaluate, place / "v/refit", "--json").stdout.splitlines()[-1])
    assert "valid" not in figures
    assert figures["refit"] == "validation"
    judged = json.loads((place / "v/result.json").read_text())
    assert figures["test"] != judged["test"]


@pytest.mark.parametrize("stage", [0, 1])
def test_a_kill_in_either_stage_changes_no_byte(place, tmp_path, monkeypatch, stage):
    for name in ("d", "c"):
        (tmp_path / name).symlink_to(place / name)
    trained(tmp_path, "--refit", "all", out="whole")
    with monkeypatch.context() as patch:
        if stage == 0:
            die_at_step(patch, 8)
        else:

            def die():
                raise Died

            patch.setattr(refitting, "refit", partial(trainer.refit, on_step=at_step(8, die)))
        with pytest.raises(Died):
            trained(tmp_path, "--refit", "all", out="r")
    assert (tmp_path / "r/refit/checkpoints/last").is_dir() == (stage == 1)
    if stage:  # the run has all that it takes to go on
        run(train, "--out", tmp_path / "r", "--resume", "--refit", "all", "--device", "cpu")
    else:
        trained(tmp_path, "--refit", "all", "--resume", out="r")
    assert outcome(tmp_path / "r") == outcome(tmp_path / "whole")
    assert refitted(tmp_path / "r") == refitted(tmp_path / "whole")


def written(folder):
    return {
        str(file): file.stat().st_mtime_ns
        for file in folder.rglob("*")
        if file.is_file() and file.name != ".owner"
    }


def test_a_finished_run_is_refitted_alone_and_a_finished_refit_is_left_alone(runs):
    plain, judged, _ = runs
    before = written(plain)
    resumed = ("--out", plain, "--resume", "--refit", "all", "--device", "cpu", "--json")
    afterwards = json.loads(run(train, *resumed).stdout.splitlines()[-1])
    assert {name: time for name, time in written(plain).items() if "/refit/" not in name} == before
    assert refitted(plain) == refitted(judged)
    every = written(plain)
    assert json.loads(run(train, *resumed).stdout.splitlines()[-1]) == afterwards
    assert written(plain) == every
    other = attempt(train, "--out", plain, "--resume", "--refit", "validation")
    assert isinstance(other.exception, UsageError)
    assert "is a refit of --refit all" in str(other.exception)
    assert f"--out {plain}-2 --refit validation" in other.exception.remedy


def test_a_run_that_is_trained_on_has_another_refit(place):
    settings = (*SETTINGS, "max_epochs=1")
    trained(place, "--refit", "all", out="m", settings=settings)
    trained(place, "--refit", "all", "--resume", out="m")
    trained(place, "--refit", "all", out="at-once")
    assert outcome(place / "m") == outcome(place / "at-once")
    assert refitted(place / "m") == refitted(place / "at-once")


def test_statistics_are_those_of_the_judged_run(place):
    trained(place, "--set", "features.standardise=layer", "--refit", "all", out="s")
    name = "standardise.safetensors"
    assert (place / "s" / name).read_bytes() == (place / "s/refit" / name).read_bytes()


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (("--refit", "all", "--validation-only"), "expected no --validation-only"),
        (("--refit", "all", "--engine", "ray"), "and no --engine ray"),
        (("--refit-init", "r"), "expected --refit with it"),
        (("--set", "refit=all"), "a refit is made inside the folder of the run that judges it"),
    ],
)
def test_what_does_not_go_together_is_refused(place, more, expected):
    with pytest.raises(UsageError, match=expected) as refused:
        trained(place, *more, out="refused")
    assert not (place / "refused").exists()
    if more[:2] == ("--refit", "all"):
        assert refused.value.remedy.endswith("--resume --refit all")


def test_no_settings_of_a_refit_make_another_run(runs):
    _, judged, _ = runs
    config = judged / "refit/config.toml"
    with pytest.raises(UsageError, match="a refit is made") as refused:
        run(train, "--config", config, "--out", judged / "refit", "--resume")
    assert refused.value.remedy == f"crossan-train --out {judged} --resume --refit all"
    with pytest.raises(UsageError, match="a refit is made") as refused:
        run(train, "--config", config, "--out", judged.parent / "other")
    assert refused.value.remedy.endswith("/other --set refit=none --refit all")


def grown(folder, place):
    """A day later: an item that nobody had, and users who had it last."""
    rows = [
        (f"v{user:03d}", item, time)
        for user in range(20)
        for time, item in enumerate(["i00", "i01", "i02", "i03", "i04"])
    ]
    table = api.open_dataset(place / "d").interactions.to_pylist()
    before = [(row["user_id"], row["item_id"], row["timestamp"]) for row in table]
    write_rows(folder / "d", [*before, *rows])
    (folder / "c").symlink_to(place / "c")


@pytest.mark.parametrize("kind", ["crossan", "sasrec"])
def test_a_run_to_be_judged_never_begins_from_a_refit_and_a_refit_may(place, tmp_path, kind):
    yesterday = place / f"yesterday-{kind}"
    trained(place, "--model", kind, "--refit", "all", out=yesterday.name)
    grown(tmp_path, place)
    model = ("--model", kind)
    with pytest.raises(UsageError, match="has already learned") as refused:
        trained(tmp_path, *model, "--init", yesterday / "refit", out="x")
    assert refused.value.remedy == (
        f"Begin from the run that judged it: --init {yesterday};"
        f" a refit may begin from it: --refit-init {yesterday / 'refit'}"
    )
    more = ("--init", yesterday, "--refit", "all", "--refit-init", yesterday / "refit")
    trained(tmp_path, *model, *more, out="x")
    initial = json.loads((tmp_path / "x/refit/init.json").read_text())
    assert initial["run"] == str(yesterday / "refit")
    assert json.loads((tmp_path / "x/init.json").read_text())["run"] == str(yesterday)
    # A second look needs not be told again where it began.
    again = attempt(train, "--out", tmp_path / "x", "--resume", "--refit", "all")
    assert again.exit_code == 0
    begun = json.loads((tmp_path / "x/refit/metrics.jsonl").read_text().splitlines()[0])["loss"]
    trained(tmp_path, *model, "--refit", "all", out="cold")
    cold = json.loads((tmp_path / "cold/refit/metrics.jsonl").read_text().splitlines()[0])["loss"]
    assert begun < cold


def test_a_log_that_has_grown_since_the_run_is_not_refitted(place, tmp_path):
    (tmp_path / "c").symlink_to(place / "c")
    planted(tmp_path)
    trained(tmp_path, "--model", "sasrec", out="x")
    grown(tmp_path / "e", place)
    again = ("--dataset", tmp_path / "e/d", "--out", tmp_path / "x", "--resume", "--refit", "all")
    with pytest.raises(IncompatibleError, match="this run has a row for each of its"):
        run(train, *again)
    assert not (tmp_path / "x/refit").exists()


def test_by_type_a_refit_and_a_judged_training_cannot_be_taken_for_each_other():
    assert typing.get_type_hints(trainer.fit)["run"] is TrainableRun
    assert typing.get_type_hints(trainer.refit)["run"] is RefitRun
    assert typing.get_type_hints(RefitRun)["seen"] is RefitSequences
    assert not issubclass(RefitSequences, typing.get_type_hints(TrainableRun)["seen"])
    assert KeptSequences not in typing.get_type_hints(RefitRun).values()


def test_nothing_but_the_refit_makes_its_sequences():
    makers = set()
    for file in Path(crossan.train.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            called = getattr(node, "func", None)
            if isinstance(called, ast.Attribute):
                called = called.value
            if isinstance(called, ast.Name) and called.id == "RefitSequences":
                makers.add(file.name)
    assert makers == {"refitting.py"}


def test_the_weights_of_a_refit_are_others_than_the_judged_ones(runs):
    _, judged, _ = runs
    theirs, ours = (
        load_file(folder / "checkpoints/best/model.safetensors")
        for folder in (judged, judged / "refit")
    )
    assert theirs.keys() == ours.keys()
    assert not any(
        torch.equal(theirs[name], ours[name]) for name in theirs if theirs[name].ndim > 1
    )
