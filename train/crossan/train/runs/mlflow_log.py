"""Curves in MLflow: where MLFLOW_TRACKING_URI says, else in a database in the run's folder."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from crossan.cache_schema.canonical import pretty_bytes
from crossan.common.config.writing import dotted, plain
from crossan.common.files import replace_durably
from crossan.common.refusals import make_folder
from crossan.train.record.shapes import TrackedRun, read_record
from crossan.train.settings import RunSettings

__all__ = ["MlflowLog"]

_ENVIRONMENT = {
    # A server that does not answer costs seconds of each epoch, not minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    # Nothing is sent anywhere but to the server that the user named.
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
_EXPERIMENT = "crossan"
_PARAMETERS_AT_ONCE, _LONGEST_PARAMETER = 100, 500
"""What every version of MLflow takes."""


class MlflowLog:
    """One run of MLflow's for a run of ours, found again by ``logs/mlflow.json``.

    Parameters
    ----------
    run
        The run folder, whose name becomes that of the run.
    settings
        The run's settings, which become parameters.
    """

    def __init__(self, run: Path, settings: RunSettings) -> None:
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        # Both tell of every table that they make in a new database.
        for library in ("mlflow", "alembic"):
            logging.getLogger(library).setLevel(logging.WARNING)
        from mlflow import MlflowClient

        logs = (run / "logs").absolute()
        make_folder(logs)
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        self._client = MlflowClient(tracking_uri=uri or f"sqlite:///{logs}/mlflow.db")
        record = logs / "mlflow.json"
        recorded = read_record(record, TrackedRun)
        run_id = None if recorded is None else self._known(str(recorded["run_id"]))
        if run_id is None:
            artifacts = None if uri else (logs / "mlflow-artifacts").as_uri()
            run_id = self._create(run, settings, artifacts)
            replace_durably(record, pretty_bytes({"run_id": run_id}))
        self._run_id = run_id
        history = self._client.get_metric_history(run_id, _name("valid/hr@10"))
        self.last_epoch = max((point.step for point in history), default=0)

    def write(self, values: Mapping[str, float], epoch: int) -> None:
        """Add values at an epoch."""
        from mlflow.entities import Metric

        if epoch <= self.last_epoch:
            # Final figures, at the best epoch: a run that is finished again has written them.
            known = self._client.get_run(self._run_id).data.metrics
            values = {
                name: value for name, value in values.items() if known.get(_name(name)) != value
            }
        now = int(time.time() * 1000)
        points = [Metric(_name(name), float(value), now, epoch) for name, value in values.items()]
        self._client.log_batch(self._run_id, metrics=points)

    def close(self, *, is_finished: bool) -> None:
        """Say that the run is finished, or that it waits to be resumed."""
        self._client.set_terminated(self._run_id, "FINISHED" if is_finished else "KILLED")

    def _known(self, run_id: str) -> str | None:
        """Return a run of an earlier process as running, None where this server has none such."""
        from mlflow.exceptions import MlflowException

        try:
            self._client.update_run(run_id, status="RUNNING")
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        return run_id

    def _create(self, run: Path, settings: RunSettings, artifacts: str | None) -> str:
        created = self._client.create_run(
            self._experiment(artifacts),
            run_name=run.absolute().name,
            tags={"crossan": version("crossan"), "run_folder": str(run.absolute())},
        )
        run_id: str = created.info.run_id
        for parameters in _parameters(settings):
            self._client.log_batch(run_id, params=parameters)
        return run_id

    def _experiment(self, artifacts: str | None) -> str:
        """Return the id of the experiment that MLflow's variables name, ours where they do not."""
        named = os.environ.get("MLFLOW_EXPERIMENT_ID")
        if named:
            return named
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", _EXPERIMENT)
        known = self._client.get_experiment_by_name(name)
        if known is not None:
            return str(known.experiment_id)
        return str(self._client.create_experiment(name, artifact_location=artifacts))


def _parameters(settings: RunSettings) -> list[Sequence[Any]]:
    """Return the settings by their dotted names, in as many pieces as a request takes."""
    from mlflow.entities import Param

    values = [
        Param(name, str(value)[:_LONGEST_PARAMETER]) for name, value in dotted(plain(settings))
    ]
    return [
        values[first : first + _PARAMETERS_AT_ONCE]
        for first in range(0, len(values), _PARAMETERS_AT_ONCE)
    ]


def _name(name: str) -> str:
    """Return a name that MLflow takes, which has no @: ``hr_at_10``, as its own metrics have."""
    return name.replace("@", "_at_")
