"""The run folder at its beginning: claimed once, whole or as good as not begun, and honest about what differs."""

import contextlib
import json
import os

import pytest

from crossan.cache_schema.errors import IncompatibleError, ResourceError, UsageError
from crossan.common.config import to_toml
from crossan.train.record.run_folder import RunFolder
from crossan.train.settings import DataSettings, RunSettings
from crossan.train.sweep.folder import SweepFolder
from crossan.train.sweep.settings import SweepSettings
from support.killing import Killed, die_at

SETTINGS = RunSettings(data=DataSettings(dataset="D", cache="C"))
SPEC = {"threads": 1, "torch": "2"}


def test_a_folder_whose_beginning_was_killed_is_begun_again(tmp_path):
    countdown, was_killed = 0, True
    while was_killed:
        countdown += 1
        folder = RunFolder(tmp_path / str(countdown))
        with pytest.MonkeyPatch.context() as patch:
            left = die_at(patch, countdown, [(os, name) for name in ("fsync", "link", "replace")])
            with contextlib.suppress(Killed):
                folder.begin(SETTINGS, SPEC, may_resume=True)
            was_killed = left[0] <= 0
        folder.begin(SETTINGS, SPEC, may_resume=True)
        folder.release()
        assert folder.settings() == SETTINGS.anywhere()
        assert sorted(path.name for path in folder.path.iterdir()) == ["config.toml", "env.json"]
    assert countdown > 8  # claimed, env.json and config.toml: three calls each


def test_what_a_run_read_is_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = RunSettings(
        data=DataSettings(dataset="D", cache="C", store=("C/x",)), init="yesterday"
    )
    folder = RunFolder(tmp_path / "r")
    folder.begin(settings, SPEC, may_resume=False)
    recorded = folder.settings()
    assert (recorded.data.dataset, recorded.data.cache) == (
        str(tmp_path / "D"),
        str(tmp_path / "C"),
    )
    assert (recorded.data.store, recorded.init) == (
        (str(tmp_path / "C/x"),),
        str(tmp_path / "yesterday"),
    )
    (tmp_path / "r" / "config.toml").write_text(to_toml(settings))  # as runs were recorded before
    folder.begin(settings, SPEC, may_resume=True)
    monkeypatch.chdir("/")
    with pytest.raises(UsageError, match=r"\n  data.store: "):
        folder.begin(settings, SPEC, may_resume=True)


def test_somebody_elses_file_is_not_vacant(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="expected an empty folder, found files in it") as refused:
        RunFolder(tmp_path).begin(SETTINGS, SPEC, may_resume=True)
    # There is no run to go on with.
    assert refused.value.remedy == f"Choose another: --out {tmp_path}-2"


def test_a_folder_with_a_run_can_be_gone_on_with(tmp_path):
    RunFolder(tmp_path / "r").begin(SETTINGS, SPEC, may_resume=False)
    with pytest.raises(UsageError, match=r"Go on with it: --resume, or choose another: --out"):
        RunFolder(tmp_path / "r").begin(SETTINGS, SPEC, may_resume=False)


@pytest.mark.parametrize("may_resume", [False, True])
def test_a_file_in_the_place_of_the_folder_is_6_as_of_any_command(may_resume, tmp_path):
    (tmp_path / "r").write_text("mine")
    run, sweep = RunFolder(tmp_path / "r"), SweepFolder(tmp_path / "r")
    with pytest.raises(ResourceError, match=r"--out .*/r is a file, expected a folder") as refused:
        run.begin(SETTINGS, SPEC, may_resume=may_resume)
    assert "--resume" not in refused.value.remedy
    with (
        pytest.raises(ResourceError, match=r"--out .*/r is a file, expected a folder"),
        sweep.claimed(SweepSettings(), SETTINGS),
    ):
        pass
    assert (tmp_path / "r").read_text() == "mine"


def test_the_folder_of_a_sweep_is_no_run(tmp_path):
    folder = SweepFolder(tmp_path / "s")
    with folder.claimed(SweepSettings(), SETTINGS):
        pass
    before = {path.name: path.read_bytes() for path in folder.path.iterdir()}
    run, message = RunFolder(folder.path), r"s: expected a run, found a sweep; see .*s/runs$"
    with pytest.raises(UsageError, match=message):
        run.settings()
    with pytest.raises(UsageError, match=message):
        run.begin(SETTINGS, SPEC, may_resume=True)
    assert {path.name: path.read_bytes() for path in folder.path.iterdir()} == before


def test_every_spec_that_a_run_was_trained_on_is_recorded(tmp_path):
    folder = RunFolder(tmp_path / "r")
    folder.begin(SETTINGS, SPEC, may_resume=False)
    with pytest.raises(
        IncompatibleError, match=r"\n  threads: 1 then, 2 now\n.*--allow-other-spec"
    ):
        folder.begin(SETTINGS, SPEC | {"threads": 2}, may_resume=True)
    folder.begin(SETTINGS, SPEC | {"threads": 2}, may_resume=True, may_differ=True)
    folder.begin(SETTINGS, SPEC | {"threads": 2}, may_resume=True)
    folder.begin(SETTINGS, SPEC | {"threads": 3}, may_resume=True, may_differ=True)
    environment = json.loads((tmp_path / "r" / "env.json").read_text())
    assert environment["earlier"] == [SPEC, SPEC | {"threads": 2}]
    assert environment["spec"] == SPEC | {"threads": 3}


def test_metrics_are_replaced_by_those_of_a_checkpoint(tmp_path):
    folder = RunFolder(tmp_path / "r")
    folder.begin(SETTINGS, SPEC, may_resume=False)
    for epoch in (1, 2, 3):
        folder.append_metrics({"epoch": epoch})
    with (tmp_path / "r/metrics.jsonl").open("a") as file:
        file.write('{"epoch": 4, "lo')  # killed while it was appended
    assert [line["epoch"] for line in folder.metrics()] == [1, 2, 3]
    folder.write_metrics([{"epoch": 1}])
    assert (tmp_path / "r/metrics.jsonl").read_text() == '{"epoch": 1}\n'
