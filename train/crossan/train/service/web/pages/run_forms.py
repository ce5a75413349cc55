"""What forms of the dashboard do, by the same functions as the interface for programs."""

from __future__ import annotations

import secrets

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse
from starlette.concurrency import run_in_threadpool

from crossan.cache_schema.errors import CrossanError
from crossan.train.service.queue.rows import State
from crossan.train.service.server import Service
from crossan.train.service.web.callers import Caller, Identity
from crossan.train.service.web.errors import status_of
from crossan.train.service.web.pages import forms
from crossan.train.service.web.pages.answers import redirected, viewed
from crossan.train.service.web.pages.choices import spec_choices
from crossan.train.service.web.roles import Role, requires
from crossan.train.service.web.routes.runs import RunId, submit_run

__all__ = ["add_run_forms"]


def add_run_forms(routes: APIRouter, service: Service) -> None:
    """Add the routes that queue and cancel runs."""

    @routes.get("/runs/new")
    @requires(Role.SUBMIT)
    def show_run_form(request: Request, caller: Caller) -> str:
        """Show the form of a run."""
        return _run_form(request, caller, service, forms.run_values(), secrets.token_urlsafe(16))

    @routes.post("/runs")
    @requires(Role.SUBMIT)
    async def queue_run(request: Request, caller: Caller) -> Response:
        """Queue what the form asks for, or show it again with what is wrong."""
        fields = forms.parsed_form(await request.body())
        # One form that is sent twice is one run.
        key = forms.first(fields, "key") or None
        try:
            spec = forms.run_spec(fields)
            run, _ = await run_in_threadpool(submit_run, service, spec, caller.name, key)
        except CrossanError as error:
            values = forms.run_values(fields)
            page = _run_form(request, caller, service, values, secrets.token_urlsafe(16), error)
            return HTMLResponse(page, status_of(error))
        return redirected(f"/runs/{run.id}", "queued")

    @routes.post("/runs/{run_id:int}/cancel")
    @requires(Role.SUBMIT)
    def cancel_run(caller: Caller, run_id: RunId) -> Response:
        """End a run."""
        run = service.scheduler.cancel(run_id, caller.name)
        return redirected(
            f"/runs/{run_id}", "stopping" if run.state is State.STOPPING else "cancelled"
        )


def _run_form(
    request: Request,
    caller: Identity,
    service: Service,
    values: dict[str, str],
    key: str,
    error: CrossanError | None = None,
) -> str:
    view = viewed(request, caller, service.clock(), "/runs")
    return view.render("new_run", values=values, key=key, error=error, **spec_choices(service))
