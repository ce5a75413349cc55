"""`crossan sweep` on real small runs: selection, resume, failures, and test targets that nothing selected by."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import typer
from typer.testing import CliRunner

from crossan.cache_schema.errors import (
    BusyError,
    ConfigError,
    DataError,
    IncompatibleError,
    StoreNotFoundError,
    UsageError,
)
from crossan.cache_schema.modality import Modality
from crossan.train.cli import train
from crossan.train.sweep import judging, searching
from crossan.train.sweep.cli import TrialsFailedError, sweep
from support.fabricated import make_sequences, write_rows, write_small, write_store
from support.processes import descendants, is_alive

SETTINGS = (
    "model.bottleneck_dim=8",
    "model.width=16",
    "optimiser.adapter_lr=0.01",
    "batch_size=32",
    "max_epochs=3",
)
MEASURED = {"run", "seconds_per_epoch", "peak_memory_bytes"}
WEIGHTS = (
    "checkpoints/best/model.safetensors",
    "checkpoints/last/model.safetensors",
    "metrics.jsonl",
)


def arguments(place, *more, out="s"):
    given = [part for setting in SETTINGS for part in ("--set", setting)]
    places = [
        "--dataset",
        place / "d",
        "--cache",
        place / "c",
        "--out",
        place / out,
        "--device",
        "cpu",
    ]
    return [str(argument) for argument in (*places, *given, *more)]


def invoke(command, *given):
    app = typer.Typer()
    app.command()(command)
    result = CliRunner().invoke(app, [str(argument) for argument in given])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def run_sweep(place, *more, out="s"):
    return json.loads(invoke(sweep, *arguments(place, *more, "--json", out=out)).stdout)


def run_train(place, *more, out):
    return json.loads(
        invoke(train, *arguments(place, *more, "--json", out=out)).stdout.splitlines()[-1]
    )


def unmeasured(result):
    return {key: value for key, value in result.items() if key not in MEASURED}


def train_here(commands, slots, told, on_end, on_look=None):
    """Stand in for `run_commands`: the same commands, in this process."""
    for command in commands:
        invoke(train, *command.arguments, "--device", slots[0].device)
        on_end(command, 0, "")


DIVERGES = ("--grid", "optimiser.lr=1e-2,1e30", "--seeds", "0,1", "--jobs", "2", "--threads", "1")


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """Train in this process as trials of one thread do."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return write_small(tmp_path_factory.mktemp("sweep"))


@pytest.fixture(scope="module")
def swept(place):
    """A finished sweep one of whose two settings diverges; its trials are real processes."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(judging, "run_commands", train_here)
        with pytest.raises(TrialsFailedError, match="2 trials failed, first: runs/") as failed:
            run_sweep(place, *DIVERGES)
    assert failed.value.exit_code == 1
    return json.loads((place / "s/sweep.json").read_text())


def test_a_diverged_trial_is_recorded_and_the_others_count(place, swept):
    assert [one["point"] for one in swept["settings"]] == [{"optimiser.lr": 0.01}]
    assert swept["chosen"] == swept["settings"][0]
    assert [(one["point"], one["seed"], one["exit_code"]) for one in swept["failed"]] == [
        ({"optimiser.lr": 1e30}, 0, 1),
        ({"optimiser.lr": 1e30}, 1, 1),
    ]
    assert all(one["reason"].startswith("TrainingDivergedError: ") for one in swept["failed"])


def test_weights_and_figures_are_those_of_plain_training(place, swept):
    for run in swept["chosen"]["runs"]:
        plain = run_train(
            place, "--set", "optimiser.lr=0.01", "--seed", run["seed"], out=f"plain-{run['seed']}"
        )
        trial, twin = place / "s" / run["run"], place / f"plain-{run['seed']}"
        for file in (*WEIGHTS, "eval/per_user.parquet"):
            assert (trial / file).read_bytes() == (twin / file).read_bytes(), file
        assert unmeasured(json.loads((trial / "result.json").read_text())) == unmeasured(plain)
        assert run["valid"] == plain["valid"]


def test_mean_and_deviation_are_over_the_seeds(place, swept):
    results = [
        json.loads((place / "s" / run["run"] / "result.json").read_text())
        for run in swept["chosen"]["runs"]
    ]
    for split, found in (("valid", swept["chosen"]["valid"]), ("test", swept["test"])):
        one, two = (result[split]["hr@10"] for result in results)
        assert found["hr@10"]["mean"] == pytest.approx((one + two) / 2)
        assert found["hr@10"]["sd"] == pytest.approx(abs(one - two) / 2**0.5)  # sqrt(2 * (d / 2)^2)


def test_only_the_chosen_setting_was_judged_on_test(place, swept):
    judged = {path.parent.name for path in (place / "s/runs").glob("*/result.json")}
    assert judged == {Path(run["run"]).name for run in swept["chosen"]["runs"]}
    selection = json.loads((place / "s/selection.json").read_text())
    assert "test" not in selection
    assert {key: swept[key] for key in selection} == selection


def test_the_same_command_again_starts_nothing_and_says_the_same(place, swept, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a process was started")

    before = {path: path.stat().st_mtime_ns for path in (place / "s/runs").rglob("*")}
    monkeypatch.setattr(subprocess, "Popen", refuse)
    with pytest.raises(TrialsFailedError):
        run_sweep(place, *DIVERGES)
    assert json.loads((place / "s/sweep.json").read_text()) == swept
    assert {path: path.stat().st_mtime_ns for path in (place / "s/runs").rglob("*")} == before


@pytest.mark.parametrize(
    ("more", "difference"),
    [
        (
            ("--grid", "optimiser.lr=1e-2,1e-3", "--seeds", "0,1"),
            r"grid.optimiser.lr: \[0.01, 1e\+30\] there, \[0.01, 0.001\]",
        ),
        (
            ("--grid", "optimiser.lr=1e-2,1e30", "--seeds", "0,2"),
            r"seeds: \[0, 1\] there, \[0, 2\] asked",
        ),
        ((*DIVERGES, "--threads", "3"), r"threads: 1 there, 3 asked"),
        ((*DIVERGES, "--set", "model.dropout=0.3"), r"model.dropout: 0.1 there, 0.3 asked"),
    ],
)
def test_another_sweep_in_the_same_folder_is_refused_and_named(place, swept, more, difference):
    with pytest.raises(
        UsageError, match=f"(?s)the sweep in this folder has other settings.*{difference}"
    ):
        run_sweep(place, *more)


def test_a_folder_with_other_files_is_refused(place, tmp_path):
    (tmp_path / "mine").write_text("")
    with pytest.raises(UsageError, match="expected an empty folder or a sweep, found other files"):
        run_sweep(place, out=tmp_path)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            ("--grid", "optimiser.lrr=1e-3"),
            "unknown setting 'optimiser.lrr'; did you mean 'optimiser.lr'",
        ),
        (
            ("--grid", "optimiser.lr=1e-3,-1"),
            "optimiser.lr: Input should be greater than 0, got -1",
        ),
        (
            ("--grid", "model.bottleneck_dim=8,x"),
            "model.bottleneck_dim: Input should be a valid integer",
        ),
        (("--grid", "optimiser.lr"), "--grid optimiser.lr: expected KEY=VALUES"),
        (("--grid", "model.layers=[0"), r"--grid \[0: expected values divided by commas"),
        (
            ("--grid", "init=2024-01-01,2024-01-02"),
            "of init, dates and times in quotes .*, got 2024-01-01",
        ),
        (("--grid", "model.width=16,17"), "expected width to be divisible by heads"),
        (("--seeds", "0,-1"), "seed: Input should be greater than or equal to 0"),
        (
            ("--sampler", "random", "--trials", "2", "--range", "optimiser.lr=-2.0:-1.0"),
            "optimiser.lr: Input should be greater than 0, got -1",
        ),
    ],
)
def test_a_wrong_name_or_value_is_told_before_anything_starts(place, tmp_path, more, message):
    with pytest.raises(ConfigError, match=message) as refused:
        run_sweep(place, *more, out=tmp_path / "s")
    assert refused.value.exit_code == 2
    assert not (tmp_path / "s").exists()


def test_ends_of_a_range_are_checked_before_optuna_proposes_anything(place, tmp_path):
    pytest.importorskip(
        "optuna",
        reason="optuna is not installed (pip install '.[optuna]'): its sampler is untested",
    )
    more = ("--sampler", "optuna", "--trials", "2", "--range", "optimiser.lr=-1.0:1")
    with pytest.raises(ConfigError, match="optimiser.lr: Input should be greater than 0, got -1.0"):
        run_sweep(place, *more, out=tmp_path / "s")


def test_without_optuna_nothing_is_begun(place, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    more = ("--sampler", "optuna", "--trials", "2", "--range", "optimiser.lr=1e-3:1")
    with pytest.raises(UsageError, match=r"pip install 'crossan\[optuna\]'"):
        run_sweep(place, *more, out=tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_what_every_trial_would_stop_at_is_told_before_anything_starts(place, tmp_path):
    single = ("--set", 'data.modality=["image"]')
    with pytest.raises(DataError, match="2 items have none of the modalities image"):
        run_sweep(place, *single, "--set", "model.top_k=1", out=tmp_path / "s")
    with pytest.raises(
        UsageError, match="model.top_k: expected at most 2, the modalities in use, got 3"
    ):
        run_sweep(place, "--grid", "model.top_k=1,3", out=tmp_path / "s")
    with pytest.raises(StoreNotFoundError, match="expected a audio store, found none"):
        run_sweep(place, "--set", 'data.modality=["audio"]', out=tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_two_sweeps_do_not_share_a_folder(place, swept):
    holder = (
        "import sys; from pathlib import Path; from crossan.common.claim import claim\n"
        "claim(Path(sys.argv[1]), 'sweeps'); print(1, flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", holder, str(place / "s")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        other.stdout.readline()
        with pytest.raises(BusyError, match="another process sweeps in this folder"):
            run_sweep(place, *DIVERGES)
    finally:
        other.kill()
        other.communicate()
    with pytest.raises(TrialsFailedError):  # what a killed one leaves behind is no lock
        run_sweep(place, *DIVERGES)


LONG = (
    "--set",
    "max_epochs=60",
    "--set",
    "patience=60",
    "--set",
    "checkpoint.every_steps=5",
    "--threads",
    "1",
)
PROGRAM = (
    "from crossan.common.console import run_command; from crossan.train.sweep.cli import sweep;"
    " run_command(sweep, 'crossan sweep')"
)


def start(place, *more):
    with (place / "output").open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *arguments(place, *LONG, *more)],
            stdout=output,
            stderr=output,
        )


def wait_for(condition, process):
    until = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, "it ended too soon"
        assert time.monotonic() < until
        time.sleep(0.01)


def epochs_done(place):
    (path,) = list((place / "s/runs").glob("*/metrics.jsonl")) or [None]
    return 0 if path is None else len(path.read_text().splitlines())


@pytest.mark.slow
def test_a_sweep_stopped_anywhere_goes_on_to_the_same_weights(place, tmp_path):
    for name in ("d", "c"):
        (tmp_path / name).symlink_to(place / name)
    run_train(tmp_path, *LONG[:4], out="plain")
    for number, expected in ((signal.SIGTERM, 143), (signal.SIGKILL, -9)):
        before = epochs_done(tmp_path)
        process = start(tmp_path)
        wait_for(lambda before=before: epochs_done(tmp_path) >= before + 3, process)
        (child,) = descendants(process.pid)
        process.send_signal(number)
        assert process.wait(timeout=30) == expected
        until = time.monotonic() + 10
        while is_alive(child) and time.monotonic() < until:
            time.sleep(0.01)
        assert not is_alive(child)
        assert not (tmp_path / "s/selection.json").exists()
    assert start(tmp_path).wait(timeout=120) == 0
    (run,) = (tmp_path / "s/runs").iterdir()
    for file in (*WEIGHTS, "eval/per_user.parquet"):
        assert (run / file).read_bytes() == (tmp_path / "plain" / file).read_bytes()
    assert "told to end: what was finished is kept" in (tmp_path / "output").read_text()
    assert (
        "checkpoint of epoch" in (tmp_path / "s/logs" / f"{run.name}.log").read_text()
    )  # SIGTERM came through, once


@pytest.fixture
def in_this_process(monkeypatch):
    for module in (searching, judging):
        monkeypatch.setattr(module, "run_commands", train_here)


def with_other_test_items(rows):
    """Give every user the last item of the next one: the catalogue stays."""
    last = {user: (item, time) for user, item, time in rows}
    users = sorted(last)
    following = dict(zip(users, users[1:] + users[:1], strict=True))
    return [
        (u, last[following[u]][0] if time == last[u][1] else item, time) for u, item, time in rows
    ]


def test_other_test_items_change_no_byte_of_the_selection(tmp_path, place, in_this_process):
    found = {}
    for name, rows in (("one", make_sequences()), ("two", with_other_test_items(make_sequences()))):
        write_rows(tmp_path / name / "d", rows)
        (tmp_path / name / "c").symlink_to(place / "c")
        report = run_sweep(tmp_path / name, "--grid", "optimiser.lr=1e-3,1e-2", "--seeds", "0,1")
        runs = sorted((tmp_path / name / "s/runs").iterdir())
        files = [run / file for run in runs for file in WEIGHTS]
        found[name] = {str(path.relative_to(tmp_path / name)): path.read_bytes() for path in files}
        found[name]["selection"] = (tmp_path / name / "s/selection.json").read_bytes()
        found[name]["test"] = json.dumps(report["test"])
    assert found["one"].pop("test") != found["two"].pop("test")  # so the items are others indeed
    assert found["one"] == found["two"]
    assert len(json.loads(found["one"]["selection"])["settings"]) == 2


def test_a_sweep_that_goes_on_proposes_the_same_points(
    tmp_path, place, in_this_process, monkeypatch
):
    pytest.importorskip(
        "optuna",
        reason="optuna is not installed (pip install '.[optuna]'): its sampler is untested",
    )
    more = (
        "--sampler",
        "optuna",
        "--trials",
        "14",
        "--range",
        "optimiser.lr=1e-4:1e-1:log",
        "--jobs",
        "2",
        "--no-test",
    )
    more = (*more, "--grid", "model.layers=[0],[0,1]", "--set", "max_epochs=1")
    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
        for part in ("d", "c"):
            (tmp_path / name / part).symlink_to(place / part)
    run_sweep(tmp_path / "whole", *more)
    left = [9]

    def stop_after_some(commands, slots, told, on_end, on_look=None):
        for command in commands:
            if left[0] == 0:
                told.set()
                return
            left[0] -= 1
            train_here([command], slots, told, on_end)

    monkeypatch.setattr(searching, "run_commands", stop_after_some)
    app = typer.Typer()
    app.command()(sweep)
    assert CliRunner().invoke(app, arguments(tmp_path / "stopped", *more)).exit_code == 143
    assert len(list((tmp_path / "stopped/s/runs").iterdir())) == 9
    left[0] = 99
    run_sweep(tmp_path / "stopped", *more)
    assert left[0] == 99 - 5  # nothing was run twice
    for name in ("selection.json", "points.json"):
        assert (tmp_path / "stopped/s" / name).read_bytes() == (
            tmp_path / "whole/s" / name
        ).read_bytes()
    points = json.loads((tmp_path / "whole/s/points.json").read_text())
    assert len({json.dumps(point) for point in points}) == 14


def test_ctrl_c_ends_with_its_own_code(tmp_path, place, monkeypatch):
    def interrupt(commands, slots, told, on_end, on_look=None):
        os.kill(os.getpid(), signal.SIGINT)
        assert told.wait(10)

    monkeypatch.setattr(searching, "run_commands", interrupt)
    app = typer.Typer()
    app.command()(sweep)
    for name in ("d", "c"):
        (tmp_path / name).symlink_to(place / name)
    result = CliRunner().invoke(app, arguments(tmp_path))
    assert result.exit_code == 130
    assert "SIGINT: finishing the checkpoints of the trials in hand" in result.stderr
    assert not (tmp_path / "s/.owner").exists()


def test_a_failure_that_is_no_divergence_is_tried_again(
    tmp_path, place, in_this_process, monkeypatch
):
    def fail(commands, slots, told, on_end, on_look=None):
        for command in commands:
            on_end(command, -9, "killed by SIGKILL")

    monkeypatch.setattr(searching, "run_commands", fail)
    more = ("--no-test", "--seeds", "3")
    for name in ("d", "c"):
        (tmp_path / name).symlink_to(place / name)
    with pytest.raises(TrialsFailedError):
        run_sweep(tmp_path, *more)
    report = json.loads((tmp_path / "s/sweep.json").read_text())
    assert (report["chosen"], report["failed"][0]["reason"]) == (None, "killed by SIGKILL")
    monkeypatch.setattr(searching, "run_commands", train_here)
    report = run_sweep(tmp_path, *more)
    assert report["failed"] == []
    assert (report["chosen"]["point"], report["test"]) == ({}, None)


def test_figures_count_however_their_process_ended(tmp_path, place, monkeypatch):
    def end_badly(commands, slots, told, on_end, on_look=None):
        train_here(
            commands, slots, told, lambda command, *_: on_end(command, 1, "killed by SIGKILL")
        )

    monkeypatch.setattr(searching, "run_commands", end_badly)
    for name in ("d", "c"):
        (tmp_path / name).symlink_to(place / name)
    more = ("--no-test", "--set", "max_epochs=1")
    report = run_sweep(tmp_path, *more)
    (run,) = report["chosen"]["runs"]
    assert report["failed"] == []
    failure = (
        tmp_path / "s/failed" / f"{Path(run['run']).name}.json"
    )  # as crossan before this recorded it
    failure.parent.mkdir()
    failure.write_text(
        json.dumps({"exit_code": 1, "reason": "killed by SIGKILL", "is_final": False})
    )
    assert run_sweep(tmp_path, *more) == report
    assert not failure.exists()


def test_a_modality_that_comes_while_trials_run_stops_the_sweep(tmp_path, monkeypatch):
    write_small(tmp_path)

    def publish_after_the_first(commands, slots, told, on_end, on_look=None):
        for command in commands:
            train_here([command], slots, told, on_end)
            write_store(tmp_path / "c", Modality.AUDIO)

    monkeypatch.setattr(searching, "run_commands", publish_after_the_first)
    more = ("--grid", "optimiser.lr=1e-3,1e-2,1e-1", "--no-test", "--set", "max_epochs=1")
    with pytest.raises(
        IncompatibleError,
        match="modalities: image, text in the cache as it is now; audio, image, text",
    ):
        run_sweep(tmp_path, *more)
    assert len(list((tmp_path / "s/runs").iterdir())) == 2  # the third was not begun
    assert not (tmp_path / "s/selection.json").exists()
    with pytest.raises(
        IncompatibleError,
        match=r"image, text in runs/\w+-seed0; audio, image, text in runs/\w+-seed0",
    ):
        run_sweep(tmp_path, *more)


def test_a_sweep_that_goes_on_with_another_cache_starts_nothing(tmp_path, monkeypatch):
    write_small(tmp_path)

    def stop_after_one(commands, slots, told, on_end, on_look=None):
        train_here(commands[:1], slots, told, on_end)
        told.set()

    monkeypatch.setattr(searching, "run_commands", stop_after_one)
    more = ("--grid", "optimiser.lr=1e-3,1e-2", "--no-test", "--set", "max_epochs=1")
    app = typer.Typer()
    app.command()(sweep)
    assert CliRunner().invoke(app, arguments(tmp_path, *more)).exit_code == 143
    audio = write_store(tmp_path / "c", Modality.AUDIO)
    with pytest.raises(
        IncompatibleError,
        match=r"image, text in runs/\w+-seed0; audio, image, text in the cache as it",
    ):
        run_sweep(tmp_path, *more)
    assert len(list((tmp_path / "s/runs").iterdir())) == 1
    shutil.rmtree(audio)
    monkeypatch.setattr(searching, "run_commands", train_here)
    assert len(run_sweep(tmp_path, *more)["settings"]) == 2


def test_a_plan_in_a_file_is_the_same_sweep(tmp_path, place, swept):
    (tmp_path / "plan.toml").write_text(
        "seeds = [0, 1]\nthreads = 1\n[grid]\noptimiser.lr = [1e-2, 1e30]\n"
    )
    with pytest.raises(TrialsFailedError):
        run_sweep(place, "--sweep", tmp_path / "plan.toml")
    with pytest.raises(TrialsFailedError):
        run_sweep(place, "--sweep", place / "s/sweep.toml")


def test_variables_for_settings_reach_the_base_and_not_behind_a_trials_back(
    tmp_path, place, monkeypatch
):
    monkeypatch.setenv("CROSSAN_OPTIMISER__LR", "0.5")
    monkeypatch.setenv("CROSSAN_MODEL__DROPOUT", "0.25")
    (tmp_path / "d").symlink_to(place / "d")
    (tmp_path / "c").symlink_to(place / "c")
    run_sweep(tmp_path, "--grid", "optimiser.lr=0.01", "--no-test", "--threads", "1")
    (run,) = (tmp_path / "s/runs").iterdir()
    config = (run / "config.toml").read_text()
    assert "\nlr = 0.01\n" in config
    assert "dropout = 0.25" in config
