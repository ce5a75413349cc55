"""What runs on the cluster: a worker that loads the backbone once, and the board on which workers write how far they are.

Both are plain classes that the driver turns into Ray actors. What crosses
between the processes is plain data: a request, counts, a result, or an error's
class name and text.
"""

from __future__ import annotations

import functools
import platform
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from crossan.cache_schema.errors import CrossanError, IncompatibleError, UsageError
from crossan.cache_schema.modality import Modality
from crossan.common.cluster import Failure
from crossan.common.console import disk_full_error
from crossan.extract.backbones.preparing import ModelInputs
from crossan.extract.cluster.tasks import Task
from crossan.extract.job.prepare import Encoder
from crossan.extract.job.request import JobRequest
from crossan.extract.job.result import JobResult

__all__ = ["Board", "Order", "Outcome", "Worker"]

_SECONDS_BETWEEN_REPORTS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Everything a worker is told when it begins; paths are absolute.

    ``mark`` is a file that the driver has just written into the cache:
    a worker that does not see it would write into another folder of that name.
    """

    request: JobRequest
    modality: Modality
    source: str | None
    threads: int
    mark: Path
    dataset_digest: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a call of a worker ended: with a result or a failure; with neither where it was told to stop, or had only to begin."""

    result: JobResult | None = None
    failure: Failure | None = None


class Board:
    """Where workers write their counts and read whether to stop."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._is_stopping = False

    def report(self, task_number: int, count: int) -> bool:
        """Note how many items of a task have gone through the backbone; return whether to stop."""
        self._counts[task_number] = count
        return self._is_stopping

    def counts(self) -> dict[int, int]:
        """Return the items forwarded by task number, of every attempt the last one."""
        return self._counts

    def stop(self) -> None:
        """Have every worker stop after its batch in hand."""
        self._is_stopping = True


class WatchedEncoder:
    """A backbone that counts what it forwards and can be told to stop.

    The lengths of titles are kept: each task plans the batches of all titles.
    """

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.text_length = functools.cache(encoder.text_length)
        self.count = 0
        self.is_stopping = False

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the backbone has
        """Return everything else from the backbone."""
        return getattr(self._encoder, name)

    def begin(self, batch: Sequence[ModelInputs]) -> Callable[[], npt.NDArray[np.float32]]:
        """Start a forward as the backbone does; raise `KeyboardInterrupt`, as Ctrl-C would, where it is to stop."""
        if self.is_stopping:
            raise KeyboardInterrupt
        states = self._encoder.begin(batch)
        self.count += len(batch)
        return states


class Worker:
    """One process with the backbone in memory, doing one task after the other.

    Parameters
    ----------
    order
        What to extract.
    board
        Handle of the `Board`.
    """

    def __init__(self, order: Order, board: Any) -> None:  # noqa: ANN401 - an actor's handle
        self._order, self._board = order, board
        self._encoder: WatchedEncoder | None = None

    def begin(self) -> Outcome:
        """See that dataset and cache are those of the driver, load the backbone, compute the canary's features."""
        try:
            _check_shared(self._order)
            self._encoder = self._load()
        except CrossanError as error:
            return Outcome(failure=Failure.of(error))
        return Outcome()

    def extract(self, task: Task, is_repair: bool) -> Outcome:
        """Do one task; what it forwarded before an error or a stop is durable."""
        from crossan.extract.job.run import extract_modality

        assert self._encoder is not None
        request = replace(self._order.request, shard=task.shard, is_repair=is_repair)
        try:
            with self._reporting(task.shard.number, self._encoder):
                return Outcome(result=extract_modality(request, cast(Encoder, self._encoder)))
        except KeyboardInterrupt:
            return Outcome()
        except CrossanError as error:
            return Outcome(failure=Failure.of(error))
        except OSError as error:
            full = disk_full_error(error)
            if full is None:
                raise
            return Outcome(failure=Failure.of(full))

    def _load(self) -> WatchedEncoder:
        import torch

        from crossan.extract.backbones import load_backbone
        from crossan.extract.job.canary import canary_features

        torch.set_num_threads(self._order.threads)
        request = self._order.request
        encoder = load_backbone(
            self._order.modality,
            self._order.source,
            revision=request.revision,
            layers=request.layers,
            pooling=request.pooling,
            device=request.device,
            dtype=request.dtype,
            is_compiled=request.is_compiled,
        )
        watched = WatchedEncoder(encoder)
        canary_features(cast(Encoder, watched))  # kept, so that no task computes it again
        return watched

    @contextmanager
    def _reporting(self, task_number: int, encoder: WatchedEncoder) -> Iterator[None]:
        """Write the count on the board now and then, and tell the encoder when to stop."""
        encoder.count = 0
        is_over = threading.Event()

        def report() -> None:
            import ray

            while not is_over.wait(_SECONDS_BETWEEN_REPORTS):
                try:
                    encoder.is_stopping = ray.get(
                        self._board.report.remote(task_number, encoder.count), timeout=60
                    )
                except ray.exceptions.RayError:
                    continue  # the board comes back, or the driver is gone and so are we

        thread = threading.Thread(target=report, name="crossan-report", daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()


def _check_shared(order: Order) -> None:
    from crossan.common.datasets import open_dataset

    node, request = platform.node(), order.request
    if version("crossan") != order.version:
        raise IncompatibleError(
            f"node {node}: expected crossan {order.version}, as where the job was started, found {version('crossan')}",
            remedy=f"Install crossan=={order.version} on every node.",
        )
    remedy = "Mount the same storage at the same path on every node."
    if not (request.dataset / "dataset.json").is_file():
        raise UsageError(f"--dataset {request.dataset}: node {node} does not see it", remedy=remedy)
    if open_dataset(request.dataset).digest != order.dataset_digest:
        raise UsageError(
            f"--dataset {request.dataset}: node {node} sees another dataset there", remedy=remedy
        )
    if not order.mark.is_file():
        raise UsageError(
            f"--cache {request.cache}: node {node} sees another folder there", remedy=remedy
        )
