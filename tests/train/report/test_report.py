"""The report of a finished run: one page, no script, no request, the right numbers."""

import json
import os
import re
from pathlib import Path

import pytest
import torch
import typer
from typer.testing import CliRunner

from crossan.cache_schema.errors import ResourceError, UsageError
from crossan.cache_schema.modality import Modality
from crossan.train.record.checkpoint import Checkpoint
from crossan.train.record.run_folder import RunFolder
from crossan.train.report.cli import report
from crossan.train.report.page import write_report
from crossan.train.settings import DataSettings, RunSettings


@pytest.fixture
def make_run(tmp_path):
    def make(name, hit_ratio=0.5, *, is_finished=True):
        folder = RunFolder(tmp_path / name)
        folder.begin(RunSettings(data=DataSettings(dataset="D", cache="C")), {}, may_resume=False)
        folder._write("cache.lock.json", json.dumps({"stores": {"text": {}, "image": {}}}))
        metrics = dict.fromkeys(
            (f"{metric}@{k}" for metric in ("hr", "ndcg", "mrr") for k in (5, 10, 20, 50)),
            hit_ratio,
        )
        part = {"users": 321, **metrics}
        for epoch in (1, 2):
            folder.append_metrics({"epoch": epoch, "loss": 2.0 / epoch, "valid": metrics})
        gates = {
            f"item_encoder.towers.gates.{layer}.logits": torch.zeros(2, 3) for layer in range(11)
        }
        gates["item_encoder.towers.gates.10.logits"] = torch.tensor(
            [[0.0, 0.0, 0.0], [100.0, 0.0, 0.0]]
        )
        folder.save_checkpoint("best", Checkpoint({"model": gates}, {}))
        if is_finished:
            folder.write_result(
                {
                    "valid": metrics, "test": metrics, "cold_test": {"targets": 7, "hr@10": 0.25, "ndcg@10": 0.125},
                    "popularity": {"valid": metrics | {"hr@10": 0.0625}, "test": metrics}, "users": 1234, "items": 5,
                    "trainable_parameters": 9, "epochs": 2, "best_epoch": 1, "seconds_per_epoch": 0.5,
                    "mask_history": "all", "unwinnable_test_targets": 0,
                    "slices": {
                        "target": {"cold": part | {"mrr@10": 0.0123}},
                        "target_popularity_decile": {"10": part},
                        "history_length": {"5-8": part} | ({"9-16": part} if name == "ours" else {}),
                    },
                    "recommendations": {
                        "top": 10, "coverage": 0.4321, "gini": 0.625, "mean_popularity": 12.5,
                        "history_mean_popularity": 10.0, "popularity_lift": 0.25,
                    },
                }
            )  # fmt: skip
        return tmp_path / name

    return make


def test_the_page_shows_both_runs_and_needs_nothing_else(make_run, tmp_path):
    write_report([make_run("ours", 0.5), make_run("<twin>", 0.375)], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    for text in (
        "1,234 users",
        "0.5000",
        "0.3750",
        "0.0625",
        "7 cold targets",
        "<td>9-16</td><td>ours (crossan)</td><td>321</td>",
        "0.0123",
        "43.2%",
        "0.625",
        "+25.0%",
        "&lt;twin&gt;",
        "image tower",
        "text tower",
    ):
        assert text in page
    assert page.count("<td>5-8</td>") == 2
    assert page.count("<td>9-16</td>") == 1
    assert "<script" not in page
    assert not re.findall(r"(?:src|href)=\"https?:", page)
    assert page.count("<svg") == 5  # three curves, two heat maps


def test_layers_are_in_order_and_the_hidden_state_comes_first(make_run, tmp_path):
    from crossan.train.layers.tower import read_gate_weights
    from crossan.train.report.plots import gate_figure

    weights = RunFolder(make_run("ours")).best_checkpoint().tensors["model"]
    gates = read_gate_weights(weights)
    assert gates.shape == (2, 11, 3)
    # layer 10 last, not between 1 and 2
    assert gates[1, 10].tolist() == pytest.approx([1.0, 0.0, 0.0])
    figure = gate_figure(gates.tolist(), [Modality.TEXT, Modality.IMAGE])
    assert figure.startswith("<svg")


def test_an_unfinished_run_is_refused(make_run, tmp_path):
    with pytest.raises(UsageError, match=r"(?s)the run is not finished.*--resume"):
        write_report([make_run("ours", is_finished=False)], tmp_path / "report.html")


def test_runs_of_one_name_are_told_apart_by_their_folders(make_run, tmp_path):
    from crossan.train.report.page import _names

    runs = [make_run("sweep1/r", 0.5), make_run("sweep2/r", 0.375)]
    write_report(runs, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "<h1>sweep1/r</h1>" in page
    for name in ("sweep1/r", "sweep2/r"):
        assert page.count(f"<!-- {name} (crossan) -->") == 3  # in the legend of every curve
    assert _names([tmp_path / "a", tmp_path / "b/c"]) == ["a", "c"]
    assert _names([tmp_path / "a", tmp_path / "a/a"]) == ["a", "a/a"]
    assert _names([tmp_path / "a", tmp_path / "b/../a"]) == ["a", "a"]  # one run


def test_the_run_here_has_its_folders_name(make_run, monkeypatch):
    run = make_run("ours")
    monkeypatch.chdir(run)
    write_report([Path()], Path("report.html"))
    assert "<h1>ours</h1>" in Path("report.html").read_text()


def test_a_place_where_no_file_can_be_is_refused_and_left_as_it_is(make_run, tmp_path):
    run = make_run("ours")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(
        UsageError,
        match=r"ours: expected a file to write, found a folder\n.*--out .*/ours/report.html",
    ):
        write_report([run], run)
    with pytest.raises(ResourceError, match=r"--out .*/config.toml is a file, expected a folder"):
        write_report([run], run / "config.toml/x/y")
    assert sorted(tmp_path.rglob("*")) == before


def test_only_an_earlier_page_is_replaced(make_run, tmp_path):
    run = make_run("ours")
    (tmp_path / "notes.html").write_text("<html>mine")
    (tmp_path / "link.html").symlink_to("notes.html")
    (tmp_path / "dangling.html").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.html")
    (tmp_path / "data" / "images").mkdir(parents=True)
    for name in ("dataset.json", "items.parquet"):
        (tmp_path / "data" / name).touch()
    before = [(path, path.lstat().st_ino) for path in sorted(tmp_path.rglob("*"))]
    for out, found in (
        ("ours/result.json", "the run"),
        ("ours/new.json", "the run"),
        ("ours/checkpoints/report.html", "the run"),
        ("data/report.html", "the dataset"),
        ("data/images/report.html", "the dataset"),
        ("notes.html", "a file that this command did not write"),
        ("link.html", "a link to notes.html"),
        ("dangling.html", "which is not there"),
        ("pipe.html", "a named pipe"),
    ):
        with pytest.raises(UsageError, match=found) as refused:
            write_report([run], tmp_path / out)
        assert refused.value.message.startswith(f"--out {tmp_path}/{out}: ")
    assert [(path, path.lstat().st_ino) for path in sorted(tmp_path.rglob("*"))] == before
    for out in ("ours/report.html", "ours/second.html", "page.html"):
        write_report([run], tmp_path / out)
        write_report([run], tmp_path / out)


def test_the_command_writes_into_the_run(make_run):
    app = typer.Typer()
    app.command()(report)
    run = make_run("ours")
    result = CliRunner().invoke(app, [str(run), "--json"])
    assert json.loads(result.stdout) == {"report": str(run / "report.html")}
    assert (run / "report.html").is_file()
