"""Curves of a training in TensorBoard's files and MLflow's database, read back by their own readers."""

import importlib.util
import json
import shutil
import warnings

import pytest

from crossan.cache_schema.errors import UsageError
from crossan.train.options.training import LogName
from crossan.train.record.run_folder import RunFolder
from crossan.train.runs import curves
from crossan.train.runs.curves import Curves, require_installed
from crossan.train.settings import DataSettings, RunSettings, SasrecSettings

METRICS = {f"{name}@{k}": 0.5 for name in ("hr", "ndcg", "mrr") for k in (5, 10, 20, 50)}
FIGURES = {
    "valid": METRICS, "test": METRICS | {"hr@10": 0.25}, "cold_test": {"targets": 3, "hr@10": 0.1, "ndcg@10": 0.1},
    "best_epoch": 2, "trainable_parameters": 9, "seconds_per_epoch": 0.5,
}  # fmt: skip

pytestmark = pytest.mark.filterwarnings("ignore")  # of what the libraries' own libraries deprecate


def needs(name):
    return pytest.mark.skipif(
        importlib.util.find_spec(name) is None, reason=f"{name} is not installed: the extra {name}"
    )


SETTINGS = RunSettings(data=DataSettings(dataset="d"), model=SasrecSettings(), max_epochs=7)


def begun(path):
    folder = RunFolder(path)
    folder.begin(SETTINGS, {}, may_resume=False)
    return folder


@pytest.fixture(autouse=True)
def no_server(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def folder(tmp_path):
    return begun(tmp_path / "r")


@pytest.fixture(scope="module")
def tracked(tmp_path_factory):
    """A run of one epoch in a database of its own, which takes MLflow seconds to make."""
    folder = begun(tmp_path_factory.mktemp("tracked") / "r")
    with Curves(folder, SETTINGS, [LogName.MLFLOW]) as log:
        train_epochs(folder, log, [1])
    return folder


def train_epochs(folder, curves, epochs):
    """Write the lines of epochs as the loop does, each 1 / epoch of loss."""
    for epoch in epochs:
        folder.append_metrics({"epoch": epoch, "loss": 1 / epoch, "valid": METRICS})
        curves.update()


def tensorboard_points(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        events = EventAccumulator(str(folder.path / "logs/tensorboard")).Reload()
    return {
        tag: [(event.step, pytest.approx(event.value)) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def mlflow_run(folder):
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{folder.path}/logs/mlflow.db")
    run_id = json.loads((folder.path / "logs/mlflow.json").read_text())["run_id"]
    return client, run_id


def mlflow_points(folder):
    client, run_id = mlflow_run(folder)
    names = client.get_run(run_id).data.metrics
    histories = {name: client.get_metric_history(run_id, name) for name in names}
    return {
        name.replace("_at_", "@"): [(point.step, pytest.approx(point.value)) for point in history]
        for name, history in histories.items()
    }


READERS = [
    pytest.param(LogName.TENSORBOARD, tensorboard_points, marks=needs("tensorboard")),
    pytest.param(LogName.MLFLOW, mlflow_points, marks=[needs("mlflow"), needs("sqlalchemy")]),
]


@pytest.mark.parametrize(("name", "points"), READERS)
def test_a_resumed_run_shows_every_epoch_once_and_then_its_figures(
    folder, name, points, request, capsys
):
    if name is LogName.MLFLOW:
        database = request.getfixturevalue("tracked").path / "logs/mlflow.db"
        (folder.path / "logs").mkdir()
        shutil.copy(database, folder.path / "logs")
    with Curves(folder, SETTINGS, [name]) as first:
        train_epochs(folder, first, [1, 2, 3])
        assert [step for step, _ in points(folder)["loss"]] == [1, 2, 3]  # while it trains
    # Killed after epoch 3, it goes on from the checkpoint of epoch 2.
    folder.write_metrics(folder.metrics()[:2])
    with Curves(folder, SETTINGS, [name]) as second:
        train_epochs(folder, second, [3, 4])
        second.finish(FIGURES)
    with Curves(folder, SETTINGS, [name]) as third:  # finished again, as by --resume
        third.finish(FIGURES)
    found = points(folder)
    assert found["loss"] == [(1, 1.0), (2, 1 / 2), (3, 1 / 3), (4, 1 / 4)]
    assert found["valid/hr@10"] == [(epoch, 0.5) for epoch in (1, 2, 3, 4)]
    assert found["learning_rate"][0] == (1, SETTINGS.optimiser.lr)
    assert found["final/test/hr@10"] == [(2, 0.25)]
    assert found["final/cold_test/targets"] == [(2, 3)]
    assert found["final/trainable_parameters"] == [(2, 9)]
    assert "not written" not in capsys.readouterr().err


@needs("mlflow")
@needs("sqlalchemy")
def test_settings_are_parameters_and_the_run_has_the_folders_name(tracked):
    assert mlflow_points(tracked)["loss"] == [(1, 1.0)]
    client, run_id = mlflow_run(tracked)
    run = client.get_run(run_id)
    assert (run.info.run_name, run.info.status) == ("r", "KILLED")
    assert run.data.params["model.kind"] == "sasrec"
    assert run.data.params["max_epochs"] == "7"
    assert client.get_experiment(run.info.experiment_id).name == "crossan"


@needs("tensorboard")
def test_settings_are_a_text(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with Curves(folder, SETTINGS, [LogName.TENSORBOARD]) as log:
        train_epochs(folder, log, [1])
    events = EventAccumulator(str(folder.path / "logs/tensorboard")).Reload()
    (text,) = events.Tensors("settings/text_summary")
    assert b'kind = "sasrec"' in text.tensor_proto.string_val[0]


def test_a_log_that_fails_is_named_once_and_training_goes_on(folder, monkeypatch, capsys):
    class Broken:
        last_epoch, is_mended = 0, False

        def __init__(self):
            self.written = []

        def write(self, values, epoch):
            if not self.is_mended:
                raise ConnectionError("no server at example.org\nand much more")
            self.written.append(epoch)

        def close(self, *, is_finished):
            self.is_finished = is_finished

    broken = Broken()
    monkeypatch.setattr(curves, "_open_log", lambda *_: broken)
    with Curves(folder, SETTINGS, [LogName.MLFLOW]) as log:
        train_epochs(folder, log, [1, 2])
        notes = capsys.readouterr().err.splitlines()
        assert len(notes) == 1
        assert notes[0].startswith(
            "--log mlflow: not written, and training goes on: ConnectionError: no server at"
            " example.org; the same command with --resume"
        )
        broken.is_mended = True
        log.finish(FIGURES)
    assert broken.written == [1, 2, 2]  # two epochs late, and the figures at the best one
    assert broken.is_finished


def test_without_a_log_nothing_is_written(folder):
    with Curves(folder, SETTINGS, []) as log:
        train_epochs(folder, log, [1])
        log.finish(FIGURES)
    assert not (folder.path / "logs").exists()


def test_a_missing_library_is_named_with_what_installs_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="--log mlflow: expected the package mlflow") as refused:
        require_installed([LogName.MLFLOW])
    assert refused.value.remedy == "pip install 'crossan[mlflow]'"
