"""The classes that run on the cluster, as Ray actors of the driver.

A worker loads the backbone once and does one task after the other. On the board
workers write how far they are. Both are plain classes, and only plain data
crosses between the processes: a request, counts, a result, or an error's class
name and text.
"""

from __future__ import annotations

import functools
import platform
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

from crossan.cache_schema.errors import CrossanError, IncompatibleError, UsageError
from crossan.cache_schema.modality import Modality
from crossan.common.cluster import Failure
from crossan.common.console import resource_error
from crossan.extract.backbones.launched import Launched
from crossan.extract.backbones.preparing import ModelInputs
from crossan.extract.cluster.tasks import ClusterTask
from crossan.extract.job.prepare import Encoder
from crossan.extract.job.request import JobRequest
from crossan.extract.job.result import JobResult

__all__ = ["Board", "CallOutcome", "Worker", "WorkerSetup"]

_SECONDS_BETWEEN_REPORTS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSetup:
    """What a worker needs to begin.

    All paths are absolute.
    """

    request: JobRequest
    modality: Modality
    source: str | None
    """Of the backbone; None for the modality's default one."""
    threads: int
    """Cores that torch may use."""
    mark: Path
    """A file that the driver has just written into the cache.

    A worker that does not see it would write into another folder of that name.
    """
    dataset_digest: str
    version: str
    """Of crossan, on the driver."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOutcome:
    """How a call of a worker ended.

    It has a result or a failure, and neither where the worker was told to stop or
    had only to begin.
    """

    result: JobResult | None = None
    failure: Failure | None = None


class Board:
    """The one actor on which workers write their counts and read whether to stop."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._is_stopping = False

    def report(self, task_number: int, count: int) -> bool:
        """Note how many items of a task have been forwarded, and return whether to stop."""
        self._counts[task_number] = count
        return self._is_stopping

    def counts(self) -> dict[int, int]:
        """Return the items forwarded in the last attempt at each task, by task number."""
        return self._counts

    def stop(self) -> None:
        """Have every worker stop after its batch in hand."""
        self._is_stopping = True


class WatchedEncoder:
    """A backbone that counts what it forwards and can be told to stop."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        # Each task plans the batches of the whole dataset, and needs the length of every title.
        self.text_length = functools.cache(encoder.text_length)
        self.count = 0
        self.is_stopping = False

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the backbone has
        """Return everything else from the backbone."""
        return getattr(self._encoder, name)

    def begin(self, batch: Sequence[ModelInputs]) -> Launched:
        """Start a forward as the backbone does.

        Raises
        ------
        KeyboardInterrupt
            The worker is to stop.
        """
        # The job ends on it as on Ctrl-C: what was forwarded is journaled and published.
        if self.is_stopping:
            raise KeyboardInterrupt
        launched = self._encoder.begin(batch)
        self.count += len(batch)
        return launched


class Worker:
    """One process with the backbone in memory, doing one task after the other.

    Parameters
    ----------
    setup
        What to extract.
    board
        Handle of the `Board`.
    """

    def __init__(self, setup: WorkerSetup, board: Any) -> None:  # noqa: ANN401 - an actor's handle
        self._setup, self._board = setup, board
        self._encoder: WatchedEncoder | None = None

    def begin(self) -> CallOutcome:
        """Check that dataset and cache are those of the driver, and load the backbone."""
        try:
            _check_shared(self._setup)
            self._encoder = self._load()
        except CrossanError as error:
            return CallOutcome(failure=Failure.of(error))
        return CallOutcome()

    def extract(self, task: ClusterTask, is_repair: bool) -> CallOutcome:
        """Do one task.

        What it forwarded before an error or a stop is durable.
        """
        from crossan.extract.job.run import extract_modality

        assert self._encoder is not None
        request = replace(self._setup.request, shard=task.shard, is_repair=is_repair)
        try:
            with self._reporting(task.shard.number, self._encoder):
                return CallOutcome(result=extract_modality(request, cast(Encoder, self._encoder)))
        except KeyboardInterrupt:
            return CallOutcome()
        # Returned, not raised: Ray would wrap an error in one of its own and print its traceback.
        except CrossanError as error:
            return CallOutcome(failure=Failure.of(error))
        except (OSError, MemoryError, RuntimeError) as error:
            ours = resource_error(error)
            if ours is None:
                raise
            return CallOutcome(failure=Failure.of(ours))

    def _load(self) -> WatchedEncoder:
        import torch

        from crossan.extract.backbones import load_backbone
        from crossan.extract.job.canary import canary_features

        torch.set_num_threads(self._setup.threads)
        request = self._setup.request
        encoder = load_backbone(
            self._setup.modality,
            self._setup.source,
            revision=request.revision,
            layers=request.layers,
            pooling=request.pooling,
            max_length=request.max_length,
            device=request.device,
            dtype=request.dtype,
            is_compiled=request.is_compiled,
        )
        watched = WatchedEncoder(encoder)
        # Remembered for this encoder, so that no task computes them again.
        canary_features(cast(Encoder, watched))
        return watched

    @contextmanager
    def _reporting(self, task_number: int, encoder: WatchedEncoder) -> Iterator[None]:
        """Write the count on the board now and then, and tell the encoder when to stop."""
        encoder.count = 0
        is_over = threading.Event()

        # In a thread of its own, so that a slow board holds up no forward.

        def report() -> None:
            import ray

            while not is_over.wait(_SECONDS_BETWEEN_REPORTS):
                try:
                    encoder.is_stopping = ray.get(
                        self._board.report.remote(task_number, encoder.count), timeout=60
                    )
                except ray.exceptions.RayError:
                    # The board is restarted, or the driver is gone and this process soon too.
                    continue

        thread = threading.Thread(target=report, name="crossan-report", daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()


def _check_shared(setup: WorkerSetup) -> None:
    from crossan.common.datasets import open_dataset

    node, request = platform.node(), setup.request
    if version("crossan") != setup.version:
        raise IncompatibleError(
            f"node {node}: expected crossan {setup.version}, as where the job was started, "
            f"found {version('crossan')}",
            remedy=f"Install crossan=={setup.version} on every node",
        )
    remedy = "Mount the same storage at the same path on every node"
    if not (request.dataset / "dataset.json").is_file():
        raise UsageError(
            f"--dataset {request.dataset}: not a dataset on node {node}", remedy=remedy
        )
    if open_dataset(request.dataset).digest != setup.dataset_digest:
        raise UsageError(
            f"--dataset {request.dataset}: another dataset on node {node}", remedy=remedy
        )
    if not setup.mark.is_file():
        raise UsageError(f"--cache {request.cache}: another folder on node {node}", remedy=remedy)
