"""The engine of ``crossan-train --engine ray``.

The ranks that torchrun would start are actors of a Ray cluster. A lost worker
takes all ranks down, and a new group goes on from the newest checkpoint. Why they
are actors and not Ray Train: docs/decisions/0006-ranks.md.
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
from crossan.train.cluster.worker import Meeting, RankOutcome, RankTask, RankWorker
from crossan.train.record.run_folder import RunFolder
from crossan.train.runs.launch import Launch
from crossan.train.settings import RunSettings

__all__ = ["RESTARTS", "train_on_cluster"]

RESTARTS = 3
"""Fresh starts after lost workers before the training is given up."""
_THREADS_OF_A_WORKER = 4
"""For `train` and the calls while it runs."""
_SECONDS_BETWEEN_LOOKS = 0.5
_SECONDS_TO_EXPLAIN = 10.0
"""How long the other ranks have to end after the first that failed, and to say why."""
_SECONDS_TO_STOP = 60.0
_SECONDS_BETWEEN_REMINDERS = 60.0


class _LostError(Exception):
    """A worker of an attempt is lost. The text says which."""


def train_on_cluster(
    settings: RunSettings,
    out: Path,
    cluster: ClusterRequest,
    launch: Launch,
) -> dict[str, Any]:
    """Train a run on a Ray cluster and return its result.

    Every node must see the dataset, cache and run folder under the same path.

    Parameters
    ----------
    settings, out
        As for `crossan.train.runs.planning.plan_run`.
    cluster
        The cluster, and how many ranks to start.
    launch
        The device as the user named it, and the rest that is the same for every rank.

    Raises
    ------
    CrossanError
        Whatever a rank raised, with its class and exit code.
    ResourceError
        There is no room for all ranks, or workers were lost four times.
    """
    device_of_rank = _device(launch.device, cluster.gpus_per_worker)
    # Ray prints the loss of a worker on stdout, where the result of --json belongs.
    with connected(cluster) as ray, redirect_stdout(sys.stderr):
        crew = fit_crew(nodes_of(ray), cluster.worker_count, cluster.gpus_per_worker)
        # Ranks wait for each other, so a training that starts with some of them would never step.
        if crew.room < crew.worker_count:
            raise ResourceError(
                f"--workers {crew.worker_count}: expected room for all ranks at once,"
                f" found it for {crew.room}",
                remedy=f"Add nodes (ray start --address=HEAD:6379), or use --workers {crew.room}",
            )
        task = RankTask(
            settings=settings,
            out=out,
            launch=replace(launch, device=device_of_rank),
            rank_count=crew.worker_count,
            threads=crew.cpus,
            folder=Path.cwd(),
            command=sys.argv,
            version=version("crossan"),
        )
        note(f"train: {crew.worker_count} ranks of {crew.cpus} cores and {crew.gpus:g} GPUs")
        return _train(ray, crew, task)


def _train(ray: Any, crew: Crew, task: RankTask) -> dict[str, Any]:  # noqa: ANN401 - a module
    """Return the result of the first attempt that loses no worker."""
    # Without --resume, a run folder that is empty now will hold a run of ours after the first
    # attempt, and only then may the next attempt resume it.
    may_resume_later = task.launch.may_resume or not RunFolder(task.out).holds_run()
    for restart in range(RESTARTS + 1):
        try:
            with _hired(ray, crew, task) as attempt:
                return attempt.result()
        except _LostError as error:
            lost = str(error)
        task = replace(task, launch=replace(task.launch, may_resume=may_resume_later))
        if restart < RESTARTS:
            note(
                f"{lost}; all ranks start afresh from the last checkpoint"
                f" ({restart + 1} of at most {RESTARTS} times)"
            )
    raise ResourceError(
        f"train: workers were lost {RESTARTS + 1} times; the last time: {lost}",
        remedy="Look at the nodes' memory and logs (ray logs),"
        " then run the same command with --resume",
    )


@contextmanager
def _hired(ray: Any, crew: Crew, task: RankTask) -> Iterator[_Attempt]:  # noqa: ANN401 - a module
    """Yield the ranks of one attempt, and end them with the block."""
    from ray.util.placement_group import placement_group, remove_placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    bundle = {"CPU": float(crew.cpus)}
    if crew.gpus:
        bundle["GPU"] = crew.gpus
    # A placement group is granted whole or not at all: two trainings that start together cannot
    # each hold half of the nodes and wait for the other half.
    group = placement_group([bundle] * crew.worker_count, strategy="PACK")
    actor = ray.remote(
        num_cpus=crew.cpus, num_gpus=crew.gpus, max_concurrency=_THREADS_OF_A_WORKER
    )(RankWorker)
    workers = []
    for number in range(crew.worker_count):
        strategy = PlacementGroupSchedulingStrategy(group, number)
        workers.append(actor.options(scheduling_strategy=strategy).remote(task))
    attempt = _Attempt(ray, workers, task)
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
        The module, connected to the cluster.
    workers
        Handles of `RankWorker` actors, in the order of their ranks.
    task
        What they train.
    """

    def __init__(
        self,
        ray: Any,  # noqa: ANN401 - a module
        workers: list[Any],
        task: RankTask,
    ) -> None:
        self._ray, self._workers, self._task = ray, workers, task
        self._lost_errors = lost_errors(ray)
        self._numbers: dict[Any, int] = {}
        self._meeting: Meeting | None = None

    def result(self) -> dict[str, Any]:
        """Train to the end and return the result of the first rank.

        Raises
        ------
        CrossanError
            What a rank raised.
        _LostError
            A worker is lost.
        """
        self._meeting = self._meet()
        calls = {
            worker.train.remote(number, self._meeting): number
            for number, worker in enumerate(self._workers)
        }
        self._numbers = dict(calls)
        outcomes: dict[int, RankOutcome] = {}
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
                    outcomes[number] = RankOutcome(has_lost_another=True)
                # The first to fail may only have noticed that another is lost: wait for the cause.
                if outcomes[number].result is None and deadline == float("inf"):
                    deadline = time.monotonic() + _SECONDS_TO_EXPLAIN
        return self._judge(outcomes, lost)

    def _judge(self, outcomes: dict[int, RankOutcome], lost: str) -> dict[str, Any]:
        """Return the result, or raise what a rank raised or that a worker is lost."""
        failures = {
            number: outcome.failure
            for number, outcome in sorted(outcomes.items())
            if outcome.failure is not None
        }
        # A rank's error comes before a lost worker: every further attempt would meet it again.
        for number, failure in failures.items():
            if not outcomes[number].has_lost_another:
                raise failure.error()
        result = outcomes[0].result if 0 in outcomes else None
        if lost or failures or result is None:
            messages = [failure.message for failure in failures.values()]
            raise _LostError(lost or (messages[0] if messages else "a rank does not answer"))
        return result

    def stop(self) -> None:
        """Let the ranks finish the current step and write a checkpoint.

        After a minute, `dismiss` ends them without.
        """
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
        """End all ranks and release the run folder."""
        for worker in self._workers:
            self._ray.kill(worker)
        if self._numbers:
            self._ray.wait(
                list(self._numbers), num_returns=len(self._numbers), timeout=_SECONDS_TO_STOP
            )
        if self._meeting is not None:
            # A rank that was killed could not release it, and the next attempt needs it.
            RunFolder(self._task.out).release(self._meeting.owner)

    def _meet(self) -> Meeting:
        """Wait until the ranks are placed and return where they meet."""
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
        """Print what the first rank has printed."""
        try:
            lines = self._ray.get(self._workers[0].said.remote(), timeout=_SECONDS_BETWEEN_LOOKS)
        except (self._ray.exceptions.GetTimeoutError, *self._lost_errors):
            return
        for line in lines:
            note(line)


def _device(device: str, gpus_per_worker: float) -> str:
    """Return the device of each rank."""
    if gpus_per_worker not in (0, 1):
        raise UsageError(
            f"--gpus-per-worker {gpus_per_worker:g}: a rank computes on one whole accelerator",
            remedy="Use 1, or leave it out",
        )
    fitting = ("auto", "cuda") if gpus_per_worker else ("auto", "cpu")
    if device not in fitting:
        raise UsageError(
            f"--device {device} --engine ray: expected {' or '.join(fitting)}"
            f" with {gpus_per_worker:g} accelerators a rank",
            remedy="Use --gpus-per-worker 1 for accelerators, and leave --device out",
        )
    # Always number 0: Ray shows each worker its own accelerator and no other.
    return "cuda:0" if gpus_per_worker else "cpu"
