"""``crossan-train --engine ray``: the ranks that torchrun would start, as actors of a Ray cluster.

A lost worker takes all ranks down; a fresh group goes on from the newest
checkpoint. Why actors and not Ray Train: docs/decisions/0006-ranks.md.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from crossan.cache_schema.errors import ResourceError, UsageError
from crossan.common.cluster import ClusterRequest, Crew, Failure, fit_crew
from crossan.common.cluster.connection import connected, first_line, lost_errors, nodes_of
from crossan.common.console import note
from crossan.train.cluster.worker import Meeting, Order, Outcome, RankWorker
from crossan.train.record.run_folder import RunFolder
from crossan.train.runs.launch import Launch
from crossan.train.settings import RunSettings

__all__ = ["RESTARTS", "train_on_cluster"]

RESTARTS = 3
"""Fresh starts after lost workers before the training is given up; what was done is kept then, too."""
_THREADS_OF_A_WORKER = 4
"""For `train` and the calls beside it."""
_SECONDS_BETWEEN_LOOKS = 0.5
_SECONDS_TO_EXPLAIN = 10.0
"""How long the others have to end after the first that failed, since one of them may know why."""
_SECONDS_TO_STOP = 60.0
_SECONDS_BETWEEN_REMINDERS = 60.0


class _LostError(Exception):
    """A worker of an attempt is gone; its text says which."""


def train_on_cluster(
    settings: RunSettings,
    out: Path,
    cluster: ClusterRequest,
    launch: Launch,
) -> dict[str, Any]:
    """Train a run on a Ray cluster and return its result.

    Dataset, cache and run folder must be visible under the same path on every node.

    Parameters
    ----------
    settings, out
        As for `crossan.train.runs.training.train_run`.
    cluster
        Where, and with how many ranks.
    launch
        The device as the user named it, and the rest that is the same for every rank.

    Raises
    ------
    CrossanError
        Whatever a rank raised, with its class and exit code.
    ResourceError
        There is no room for all ranks, or a worker was lost four times.
    """
    device = _device(launch.device, cluster.gpus_per_worker)
    with (
        connected(cluster) as ray,
        redirect_stdout(sys.stderr),
    ):  # Ray tells of a lost worker on stdout
        crew = fit_crew(nodes_of(ray), cluster.worker_count, cluster.gpus_per_worker)
        if crew.room < crew.worker_count:
            raise ResourceError(
                f"--workers {crew.worker_count}: expected room for all ranks at once, found it for {crew.room}",
                remedy=f"Add nodes (ray start --address=HEAD:6379), or use --workers {crew.room}",
            )
        order = Order(
            settings=settings,
            out=out,
            launch=replace(launch, device=device),
            rank_count=crew.worker_count,
            threads=crew.cpus,
            folder=Path.cwd(),
            command=sys.argv,
            version=version("crossan"),
        )
        note(f"train: {crew.worker_count} ranks of {crew.cpus} cores and {crew.gpus:g} GPUs")
        return _train(ray, crew, order)


def _train(ray: Any, crew: Crew, order: Order) -> dict[str, Any]:  # noqa: ANN401 - a module
    may_go_on = (
        order.launch.may_resume or not RunFolder(order.out).holds_run()
    )  # a run of ours, once it is begun
    for restart in range(RESTARTS + 1):
        try:
            with _hired(ray, crew, order) as attempt:
                return attempt.result()
        except _LostError as error:
            lost = str(error)
        order = replace(order, launch=replace(order.launch, may_resume=may_go_on))
        if restart < RESTARTS:
            note(
                f"{lost}; all ranks start afresh from the last checkpoint ({restart + 1} of at most {RESTARTS} times)"
            )
    raise ResourceError(
        f"train: workers were lost {RESTARTS + 1} times; the last time: {lost}",
        remedy="Look at the nodes' memory and logs (ray logs), then run the same command with --resume",
    )


@contextmanager
def _hired(ray: Any, crew: Crew, order: Order) -> Iterator[_Attempt]:  # noqa: ANN401 - a module
    """Yield the ranks of one attempt, all of them or none placed; none is left."""
    from ray.util.placement_group import placement_group, remove_placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    bundle = {"CPU": float(crew.cpus), **({"GPU": crew.gpus} if crew.gpus else {})}
    group = placement_group([bundle] * crew.worker_count, strategy="PACK")
    make = ray.remote(num_cpus=crew.cpus, num_gpus=crew.gpus, max_concurrency=_THREADS_OF_A_WORKER)(
        RankWorker
    )
    workers = [
        make.options(scheduling_strategy=PlacementGroupSchedulingStrategy(group, number)).remote(
            order
        )
        for number in range(crew.worker_count)
    ]
    attempt = _Attempt(ray, workers, order)
    try:
        yield attempt
    except (KeyboardInterrupt, SystemExit):
        attempt.stop()
        raise
    finally:
        attempt.dismiss()
        remove_placement_group(group)


class _Attempt:
    """One process group on the cluster, from its first meeting to its end.

    Parameters
    ----------
    ray
        The module, connected.
    workers
        Handles of `RankWorker` actors, in the order of their ranks.
    order
        What they train.
    """

    def __init__(self, ray: Any, workers: list[Any], order: Order) -> None:  # noqa: ANN401 - a module
        self._ray, self._workers, self._order = ray, workers, order
        self._lost_errors = lost_errors(ray)
        self._numbers: dict[Any, int] = {}
        self._meeting: Meeting | None = None

    def result(self) -> dict[str, Any]:
        """Train to the end and return the first rank's result.

        Raises
        ------
        CrossanError
            As a rank raised it.
        _LostError
            A worker is gone.
        """
        self._meeting = self._meet()
        calls = {
            worker.train.remote(number, self._meeting): number
            for number, worker in enumerate(self._workers)
        }
        self._numbers = dict(calls)
        outcomes: dict[int, Outcome] = {}
        lost = ""
        deadline = float("inf")
        while calls and time.monotonic() < deadline:
            ready, _ = self._ray.wait(list(calls), num_returns=1, timeout=_SECONDS_BETWEEN_LOOKS)
            self._pass_on()
            for call in ready:
                number = calls.pop(call)
                try:
                    outcomes[number] = self._ray.get(call)
                except self._lost_errors as error:
                    lost = lost or f"rank {number} was lost: {first_line(error)}"
                    outcomes[number] = Outcome(has_lost_another=True)
                if outcomes[number].result is None and deadline == float("inf"):
                    deadline = time.monotonic() + _SECONDS_TO_EXPLAIN
        return self._judge(outcomes, lost)

    def _judge(self, outcomes: dict[int, Outcome], lost: str) -> dict[str, Any]:
        """Tell an error that every attempt would meet from a worker that is gone."""
        failures = {
            number: one.failure
            for number, one in sorted(outcomes.items())
            if one.failure is not None
        }
        for number, failure in failures.items():
            if not outcomes[number].has_lost_another:
                raise failure.error()
        result = outcomes[0].result if 0 in outcomes else None
        if lost or failures or result is None:
            raise _LostError(
                lost
                or next(
                    (failure.message for failure in failures.values()), "a rank does not answer"
                )
            )
        return result

    def stop(self) -> None:
        """Let the ranks finish the step in hand and write a checkpoint; after a minute they are ended without."""
        if not self._numbers:
            return
        note(f"{len(self._workers)} ranks stop after the step in hand")
        for worker in self._workers:
            worker.stop.remote()
        self._ray.wait(
            list(self._numbers), num_returns=len(self._numbers), timeout=_SECONDS_TO_STOP
        )
        self._pass_on()

    def dismiss(self) -> None:
        """End all ranks, and let go of the run folder for those that could not."""
        for worker in self._workers:
            self._ray.kill(worker)
        if self._numbers:
            self._ray.wait(
                list(self._numbers), num_returns=len(self._numbers), timeout=_SECONDS_TO_STOP
            )
        if self._meeting is not None:
            RunFolder(self._order.out).release(self._meeting.owner)

    def _meet(self) -> Meeting:
        opening, reminded_at = self._workers[0].open_meeting.remote(), time.monotonic()
        while not self._ray.wait([opening], timeout=_SECONDS_BETWEEN_LOOKS)[0]:
            if time.monotonic() - reminded_at > _SECONDS_BETWEEN_REMINDERS:
                reminded_at = time.monotonic()
                note("waiting for room for all ranks on the cluster")
        try:
            answer = self._ray.get(opening)
        except self._lost_errors as error:
            raise _LostError(f"rank 0 was lost before it began: {first_line(error)}") from None
        if isinstance(answer, Failure):
            raise answer.error()
        return answer  # type: ignore[no-any-return]

    def _pass_on(self) -> None:
        """Print what the first rank has said."""
        try:
            lines = self._ray.get(self._workers[0].said.remote(), timeout=_SECONDS_BETWEEN_LOOKS)
        except (self._ray.exceptions.GetTimeoutError, *self._lost_errors):
            return
        for line in lines:
            note(line)


def _device(device: str, gpus_per_worker: float) -> str:
    """Return where each rank computes; its accelerator is the only one that Ray lets it see."""
    if gpus_per_worker not in (0, 1):
        raise UsageError(
            f"--gpus-per-worker {gpus_per_worker:g}: a rank computes on one whole accelerator",
            remedy="Use 1, or leave it out",
        )
    fitting = ("auto", "cuda") if gpus_per_worker else ("auto", "cpu")
    if device not in fitting:
        raise UsageError(
            f"--device {device} --engine ray: expected {' or '.join(fitting)} with {gpus_per_worker:g} accelerators a rank",
            remedy="Use --gpus-per-worker 1 for accelerators, and leave --device out",
        )
    return "cuda:0" if gpus_per_worker else "cpu"
