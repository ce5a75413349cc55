"""Adding, running and removing triggers, and cancelling nights."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import HTMLResponse
from starlette.concurrency import run_in_threadpool

from crossan.cache_schema.errors import CrossanError
from crossan.cache_schema.modality import Modality
from crossan.train.service.nights.rows import get_trigger
from crossan.train.service.server import Service
from crossan.train.service.web.callers import Caller, Identity
from crossan.train.service.web.errors import status_of
from crossan.train.service.web.pages import forms
from crossan.train.service.web.pages.answers import redirected, viewed
from crossan.train.service.web.pages.run_forms import dataset_choices
from crossan.train.service.web.pages.trigger_pages import remove_page
from crossan.train.service.web.roles import Role, requires
from crossan.train.service.web.routes.nights import add_trigger, cancel_night
from crossan.train.service.web.routes.runs import RunId

__all__ = ["add_night_forms"]

_Trigger = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
_MODALITIES = [(modality.value, modality.value) for modality in Modality]


def add_night_forms(routes: APIRouter, service: Service) -> None:
    """Add the routes that change triggers and nights."""

    @routes.post("/nights/{night_id:int}/cancel")
    @requires(Role.SUBMIT)
    def stop_night(caller: Caller, night_id: RunId) -> Response:
        """End a night."""
        cancel_night(service, night_id, caller.name)
        return redirected(f"/nights/{night_id}", "stopping")

    @routes.get("/triggers/new")
    @requires(Role.ADMIN)
    def show_trigger_form(request: Request, caller: Caller) -> str:
        """Show the form of a trigger."""
        return _trigger_form(request, caller, service, forms.night_values())

    @routes.post("/triggers")
    @requires(Role.ADMIN)
    async def keep_trigger(request: Request, caller: Caller) -> Response:
        """Add the trigger that the form asks for, or show it again with what is wrong."""
        fields = forms.parsed_form(await request.body())
        try:
            spec = forms.trigger_spec(fields)
            await run_in_threadpool(add_trigger, service, spec, caller.name)
        except CrossanError as error:
            page = _trigger_form(request, caller, service, forms.night_values(fields), error)
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


def _trigger_form(
    request: Request,
    caller: Identity,
    service: Service,
    values: dict[str, Any],
    error: CrossanError | None = None,
) -> str:
    view = viewed(request, caller, service.clock(), "/triggers")
    return view.render(
        "new_trigger",
        values=values,
        datasets=dataset_choices(service),
        modalities=_MODALITIES,
        error=error,
    )
