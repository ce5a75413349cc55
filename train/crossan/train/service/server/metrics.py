"""What Prometheus may ask for: figures of the queue, of requests and of backups."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from crossan.train.service.database import Database
from crossan.train.service.folder import ServiceFolder
from crossan.train.service.queue.rows import RunRow, State
from crossan.train.service.serving import Serving
from crossan.train.service.serving.latency import BOUNDS

__all__ = ["Metrics"]

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60)
_WAITS = (1, 10, 60, 300, 1800, 3600, 4 * 3600, 24 * 3600)


class Metrics:
    """The metrics of one service, in a registry of their own.

    Parameters
    ----------
    database, folder, serving
        Those of the service.
    clock
        Returns the seconds since 1970.
    """

    def __init__(
        self,
        database: Database,
        folder: ServiceFolder,
        serving: Serving,
        clock: Callable[[], float],
    ) -> None:
        self._registry = CollectorRegistry()
        self._requests = Histogram(
            "crossan_request_seconds",
            "Seconds until the answer to a request began.",
            ("route", "method", "status"),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._waits = Histogram(
            "crossan_queue_wait_seconds",
            "Seconds between the submission of a run and its start.",
            buckets=_WAITS,
            registry=self._registry,
        )
        self._ended = Counter(
            "crossan_runs_ended",
            "Runs that ended since the server started.",
            ("step", "state"),
            registry=self._registry,
        )
        self._attempts = Counter(
            "crossan_attempts",
            "Attempts at the runs that ended since the server started.",
            ("step",),
            registry=self._registry,
        )
        self._registry.register(_Looked(database, folder, clock))
        self._registry.register(_Answers(serving))

    def on_end(self, connection: sqlite3.Connection, run: RunRow) -> None:
        """Count a run that ended; a `Listener` of the queue."""
        del connection
        self._ended.labels(run.step, run.state).inc()
        self._attempts.labels(run.step).inc(run.attempt)
        if run.started is not None:
            self._waits.observe(max(0.0, run.started - run.created))

    def on_answer(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count an answered request.

        Parameters
        ----------
        route
            Its route's template, so that no number of runs makes more of them.
        method, status
            Of the request and its answer.
        seconds
            Until the answer began.
        """
        # A client may make up methods.
        known = method if method in {"GET", "HEAD", "POST", "DELETE"} else "other"
        self._requests.labels(route, known, str(status)).observe(seconds)

    def text(self) -> bytes:
        """Return all of them in Prometheus's text format.

        Raises
        ------
        DatabaseUnusableError
            The database cannot be read.
        """
        text: bytes = generate_latest(self._registry)
        return text


class _Looked:
    """Figures that are looked up when they are asked for."""

    def __init__(
        self, database: Database, folder: ServiceFolder, clock: Callable[[], float]
    ) -> None:
        self._database = database
        self._folder = folder
        self._clock = clock

    def describe(self) -> list[Metric]:
        """Return none: a look before the first question would read the database."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the figures of the queue and of the backups."""
        states, used, oldest = self._database.read(_queue_figures)
        runs = GaugeMetricFamily("crossan_runs", "Runs by state.", labels=["state"])
        for state in State:
            runs.add_metric([state], states.get(state, 0))
        yield runs
        slots = GaugeMetricFamily(
            "crossan_slots_used", "What running runs may use together.", labels=["kind"]
        )
        for kind, value in zip(("cpus", "memory_gib", "gpus"), used, strict=True):
            slots.add_metric([kind], value)
        yield slots
        wait = 0.0 if oldest is None else max(0.0, self._clock() - oldest)
        yield GaugeMetricFamily(
            "crossan_queue_oldest_seconds",
            "Seconds since the submission of the oldest run that is queued.",
            value=wait,
        )
        newest = _newest_backup(self._folder.backups)
        if newest is not None:
            yield GaugeMetricFamily(
                "crossan_backup_age_seconds",
                "Seconds since the newest backup of the database.",
                value=max(0.0, self._clock() - newest),
            )


class _Answers:
    """Figures of the recommender."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving

    def describe(self) -> list[Metric]:
        """Return none, as it is not needed."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the figures of its answers."""
        latency = self._serving.latency()
        histogram = HistogramMetricFamily(
            "crossan_recommend_seconds", "Seconds that a recommendation took the recommender."
        )
        buckets = [
            (f"{bound:g}", count) for bound, count in zip(BOUNDS, latency.counts, strict=True)
        ]
        histogram.add_metric([], [*buckets, ("+Inf", latency.count)], latency.seconds)
        yield histogram
        yield CounterMetricFamily(
            "crossan_recommend_failures",
            "Recommendations that could not be given.",
            value=latency.failures,
        )
        yield GaugeMetricFamily(
            "crossan_model_version",
            "Version of the model that answers, 0 for none.",
            value=self._serving.loaded() or 0,
        )


_Figures = tuple[dict[str, int], tuple[float, float, float], float | None]


def _queue_figures(connection: sqlite3.Connection) -> _Figures:
    states = {
        row[0]: row[1]
        for row in connection.execute("SELECT state, count(*) FROM runs GROUP BY state")
    }
    used = connection.execute(
        "SELECT coalesce(sum(cpus), 0), coalesce(sum(memory_gib), 0), coalesce(sum(gpus), 0)"
        " FROM runs WHERE state IN (?, ?)",
        (State.RUNNING, State.STOPPING),
    ).fetchone()
    oldest = connection.execute(
        "SELECT min(created) FROM runs WHERE state = ?", (State.QUEUED,)
    ).fetchone()[0]
    return states, (used[0], used[1], used[2]), oldest


def _newest_backup(folder: Path) -> float | None:
    try:
        return max((path.stat().st_mtime for path in folder.iterdir()), default=None)
    except FileNotFoundError:
        return None
