"""Where a report is written, what it replaces, and the names that its runs have."""

import json
import os

import pytest
import typer
from typer.testing import CliRunner

from crossan.cache_schema.errors import ResourceError, UsageError
from crossan.train.report.cli import report
from crossan.train.report.gathering import gather
from crossan.train.report.page import write_report


def test_runs_of_one_name_are_told_apart_by_their_folders(make_run):
    runs = [make_run("sweep1/r", 0.5), make_run("sweep2/r", 0.375, settings={"batch_size": 9})]
    assert [entry.label for entry in gather(runs).entries] == ["sweep1/r", "sweep2/r"]
    # The same run by another path is one run.
    assert len(gather([runs[0], runs[0] / "../r"]).entries) == 1


def test_the_run_here_has_its_folders_name(make_run, monkeypatch, undrawn):
    run = make_run("ours")
    monkeypatch.chdir(run)
    from pathlib import Path

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


def test_only_an_earlier_page_is_replaced(make_run, tmp_path, undrawn):
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
        write_report([run], tmp_path / out, should_compute=False)
        write_report([run], tmp_path / out, should_compute=False)


def test_a_page_of_before_is_known(tmp_path):
    """Pages of earlier versions have their title elsewhere, and are replaced, too."""
    from crossan.train.report.page import _require_writable

    (tmp_path / "old.html").write_text("<!doctype html>\n<title>crossan: ours</title>")
    _require_writable(tmp_path / "old.html")


def test_the_command_writes_into_the_run(make_run, undrawn):
    app = typer.Typer()
    app.command()(report)
    run = make_run("ours")
    result = CliRunner().invoke(app, [str(run), "--quick", "--json"])
    assert json.loads(result.stdout) == {"report": str(run / "report.html")}
    assert (run / "report.html").is_file()
