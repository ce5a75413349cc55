"""``/v1/runs``: the queue."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Response
from starlette.concurrency import run_in_threadpool

from crossan.train.service.queue.rows import (
    Order,
    RunRow,
    State,
    Step,
    get_run,
    list_runs,
    submit,
)
from crossan.train.service.server import Service
from crossan.train.service.specs import RunSpec
from crossan.train.service.web.callers import Caller
from crossan.train.service.web.roles import Role, at_once, requires
from crossan.train.service.web.views import ERRORS, RunPage, RunView, answer_of

__all__ = ["RunId", "order_of", "router", "submit_run"]

RunId = Annotated[int, Path(ge=1, lt=2**63, description="Number of a run.")]
_Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        pattern=r"^[\x21-\x7e]+$",
        description="Of two requests of one caller with the same key, the second gives the run of"
        " the first.",
    ),
]


def order_of(spec: RunSpec, caller: str, now: float, key: str | None = None) -> Order:
    """Return the order of a lone training.

    Parameters
    ----------
    spec
        What is asked for.
    caller
        Who asks.
    now
        Seconds since 1970.
    key
        The caller's idempotency key.
    """
    return Order(
        step=Step.TRAIN,
        dataset=spec.dataset,
        spec=spec.model_dump(mode="json"),
        limits=spec.limits,
        submitted_by=caller,
        created=now,
        label=spec.label,
        idempotency_key=key,
    )


def submit_run(
    service: Service, spec: RunSpec, caller: str, key: str | None = None
) -> tuple[RunRow, bool]:
    """Check a spec and queue it; return the run, and whether it is new.

    Raises
    ------
    ConfigError
        The spec names what does not exist, more than there is, or a setting that it may not give.
    BusyError
        The key belongs to a run of another spec.
    """
    service.checks.require(spec)
    order = order_of(spec, caller, service.clock(), key)
    row, is_new = service.database.write(lambda connection: submit(connection, order))
    service.scheduler.wake()
    return row, is_new


async def _submit_on_loop(
    service: Service, spec: RunSpec, caller: str, key: str | None
) -> tuple[RunRow, bool]:
    """Do what `submit_run` does without a thread for each request.

    Only the look at the disk is left to one. Fifty clients would otherwise have fifty threads
    that take turns at one interpreter, and each would wait for all others at each step.
    """
    if not service.checks.has_passed(spec):
        await run_in_threadpool(service.checks.require, spec)
    order = order_of(spec, caller, service.clock(), key)
    row, is_new = await service.database.write_async(lambda connection: submit(connection, order))
    service.scheduler.wake()
    return row, is_new


def router(service: Service) -> APIRouter:
    """Return the routes of the queue."""
    routes = APIRouter(prefix="/v1/runs", tags=["runs"], responses=ERRORS)

    @routes.post("", status_code=201, response_model=RunView, responses={200: {"model": RunView}})
    @requires(Role.SUBMIT)
    @at_once(64)  # what waits for the disk is written together
    async def submit_a_run(spec: RunSpec, caller: Caller, key: _Key = None) -> Response:
        """Queue a training."""
        row, is_new = await _submit_on_loop(service, spec, caller.name, key)
        answer = answer_of(RunView.of(row), 201 if is_new else 200)
        answer.headers["location"] = f"/v1/runs/{row.id}"
        return answer

    @routes.get("", response_model=RunPage)
    @requires(Role.READ)
    def list_all_runs(
        state: State | None = None,
        night: Annotated[int | None, Query(ge=1, lt=2**63)] = None,
        before: Annotated[int | None, Query(ge=1, lt=2**63)] = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
    ) -> Response:
        """Return runs, the newest first."""
        rows = service.database.read(
            lambda connection: list_runs(
                connection, state=state, night_id=night, before=before, limit=limit
            )
        )
        page = RunPage(
            runs=[RunView.of(row) for row in rows],
            before=rows[-1].id if len(rows) == limit else None,
        )
        return answer_of(page)

    @routes.get("/{run_id}", response_model=RunView)
    @requires(Role.READ)
    def show_run(run_id: RunId) -> Response:
        """Return one run."""
        row = service.database.read(lambda connection: get_run(connection, run_id))
        return answer_of(RunView.of(row))

    @routes.post("/{run_id}/cancel")
    @requires(Role.SUBMIT)
    def cancel_run(run_id: RunId, caller: Caller) -> RunView:
        """End a run, with all its processes, within 15 seconds."""
        return RunView.of(service.scheduler.cancel(run_id, caller.name))

    return routes
