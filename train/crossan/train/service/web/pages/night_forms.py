"""Beginning and cancelling nights; adding, running and removing triggers."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import HTMLResponse
from starlette.concurrency import run_in_threadpool

from crossan.cache_schema.errors import CrossanError
from crossan.train.service.nights.rows import get_trigger
from crossan.train.service.server import Service
from crossan.train.service.web.callers import Caller, Identity
from crossan.train.service.web.errors import status_of
from crossan.train.service.web.pages import forms
from crossan.train.service.web.pages.answers import redirected, viewed
from crossan.train.service.web.pages.choices import MODALITIES, spec_choices
from crossan.train.service.web.pages.trigger_pages import remove_page
from crossan.train.service.web.roles import Role, requires
from crossan.train.service.web.routes.nights import add_trigger, begin_night, cancel_night
from crossan.train.service.web.routes.runs import RunId

__all__ = ["add_night_forms"]

_Trigger = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]


def add_night_forms(routes: APIRouter, service: Service) -> None:
    """Add the routes that change triggers and nights."""
    _add_nights(routes, service)
    _add_triggers(routes, service)


def _add_nights(routes: APIRouter, service: Service) -> None:
    @routes.get("/nights/new")
    @requires(Role.SUBMIT)
    def show_night_form(request: Request, caller: Caller) -> str:
        """Show the form of a night."""
        return _night_form(request, caller, service, forms.night_values())

    @routes.post("/nights")
    @requires(Role.SUBMIT)
    async def begin(request: Request, caller: Caller) -> Response:
        """Begin the night that the form asks for, or show it again with what is wrong."""
        fields = forms.parsed_form(await request.body())
        try:
            spec = forms.night_spec(fields)
            night = await run_in_threadpool(begin_night, service, spec, caller.name)
        except CrossanError as error:
            page = _night_form(request, caller, service, forms.night_values(fields), error)
            return HTMLResponse(page, status_of(error))
        return redirected(f"/nights/{night.id}", "begun")

    @routes.post("/nights/{night_id:int}/cancel")
    @requires(Role.SUBMIT)
    def stop_night(caller: Caller, night_id: RunId) -> Response:
        """End a night."""
        cancel_night(service, night_id, caller.name)
        return redirected(f"/nights/{night_id}", "stopping")


def _add_triggers(routes: APIRouter, service: Service) -> None:
    @routes.get("/triggers/new")
    @requires(Role.ADMIN)
    def show_trigger_form(request: Request, caller: Caller) -> str:
        """Show the form of a trigger."""
        return _trigger_form(request, caller, service, forms.trigger_values())

    @routes.post("/triggers")
    @requires(Role.ADMIN)
    async def keep_trigger(request: Request, caller: Caller) -> Response:
        """Add the trigger that the form asks for, or show it again with what is wrong."""
        fields = forms.parsed_form(await request.body())
        try:
            spec = forms.trigger_spec(fields)
            await run_in_threadpool(add_trigger, service, spec, caller.name)
        except CrossanError as error:
            page = _trigger_form(request, caller, service, forms.trigger_values(fields), error)
            return HTMLResponse(page, status_of(error))
        return redirected("/triggers", "added")

    @routes.post("/triggers/{name}/run")
    @requires(Role.SUBMIT)
    def run_trigger(caller: Caller, name: _Trigger) -> Response:
        """Begin the night of a trigger now."""
        night = service.nights.run_trigger(name, caller.name)
        return redirected(f"/nights/{night.id}", "begun")

    @routes.get("/triggers/{name}/remove")
    @requires(Role.ADMIN)
    def ask_to_remove(request: Request, caller: Caller, name: _Trigger) -> str:
        """Ask whether a trigger is to go."""
        trigger = service.database.read(lambda connection: get_trigger(connection, name))
        return remove_page(viewed(request, caller, service.clock(), "/triggers"), trigger)

    @routes.post("/triggers/{name}/remove")
    @requires(Role.ADMIN)
    def remove_trigger(caller: Caller, name: _Trigger) -> Response:
        """Remove a trigger."""
        service.nights.remove_trigger(name, caller.name)
        return redirected("/triggers", "removed")


def _night_form(
    request: Request,
    caller: Identity,
    service: Service,
    values: dict[str, Any],
    error: CrossanError | None = None,
) -> str:
    view = viewed(request, caller, service.clock(), "/nights")
    offered = spec_choices(service)
    return view.render("new_night", values=values, modalities=MODALITIES, error=error, **offered)


def _trigger_form(
    request: Request,
    caller: Identity,
    service: Service,
    values: dict[str, Any],
    error: CrossanError | None = None,
) -> str:
    view = viewed(request, caller, service.clock(), "/triggers")
    offered = spec_choices(service)
    return view.render("new_trigger", values=values, modalities=MODALITIES, error=error, **offered)
