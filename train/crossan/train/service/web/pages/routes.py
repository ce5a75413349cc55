"""The addresses of the dashboard that show something."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse
from starlette.concurrency import run_in_threadpool

from crossan.cache_schema.errors import CrossanError, UsageError
from crossan.train.service.nights.rows import get_night, list_nights, list_triggers
from crossan.train.service.queue.rows import State, get_run, list_runs
from crossan.train.service.server import Service
from crossan.train.service.web.callers import Caller
from crossan.train.service.web.comparing import Comparisons, require_comparable
from crossan.train.service.web.pages import reading
from crossan.train.service.web.pages.answers import PageRoute, viewed
from crossan.train.service.web.pages.audit_page import audit_page
from crossan.train.service.web.pages.compare_pages import compare_page
from crossan.train.service.web.pages.model_forms import add_model_forms
from crossan.train.service.web.pages.model_pages import model_page, models_page
from crossan.train.service.web.pages.night_forms import add_night_forms
from crossan.train.service.web.pages.night_pages import night_page, nights_page
from crossan.train.service.web.pages.overview import overview_page
from crossan.train.service.web.pages.recommend_page import add_recommend_page
from crossan.train.service.web.pages.run_forms import add_run_forms
from crossan.train.service.web.pages.run_pages import run_page, runs_page
from crossan.train.service.web.pages.store_pages import stores_page
from crossan.train.service.web.pages.trigger_pages import triggers_page
from crossan.train.service.web.roles import Role, requires
from crossan.train.service.web.routes.nights import list_stores
from crossan.train.service.web.routes.runs import RunId

__all__ = ["router"]

_PAGE_ROWS = 50
_STATIC = {
    "style.css": "text/css; charset=utf-8",
    "live.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
"""Files that pages load, each with its type: no other name is ever looked up."""

_Before = Annotated[int | None, Query(ge=1, lt=2**63)]
_Notice = Annotated[str, Query(max_length=40)]


def router(service: Service) -> APIRouter:
    """Return the routes of the dashboard."""
    routes = APIRouter(
        route_class=PageRoute, include_in_schema=False, default_response_class=HTMLResponse
    )
    for add in (
        _add_queue, _add_comparison, _add_nights, _add_models,
        add_run_forms, add_model_forms, add_night_forms, add_recommend_page,
    ):  # fmt: skip
        add(routes, service)

    @routes.get("/static/{name}", response_class=Response)
    @requires(Role.READ)
    def static_file(name: str) -> Response:
        """Return a style sheet, script or picture of the pages."""
        if name not in _STATIC:
            raise UsageError(f"/static/{name}: no such file")
        headers = {"cache-control": "private, max-age=300"}
        return Response(_static(name), media_type=_STATIC[name], headers=headers)

    return routes


def _add_queue(routes: APIRouter, service: Service) -> None:
    @routes.get("/")
    @requires(Role.READ)
    def show_overview(request: Request, caller: Caller) -> str:
        """Show what runs, what waits and what is in production."""
        view = viewed(request, caller, service.clock(), "/")
        return overview_page(view, reading.overview_of(service))

    @routes.get("/runs")
    @requires(Role.READ)
    def show_runs(
        request: Request, caller: Caller, state: State | None = None, before: _Before = None
    ) -> str:
        """Show the list of runs."""
        rows = service.database.read(
            lambda connection: list_runs(
                connection, state=state, before=before, limit=_PAGE_ROWS + 1
            )
        )
        last = rows[_PAGE_ROWS - 1].id if len(rows) > _PAGE_ROWS else None
        view = viewed(request, caller, service.clock(), "/runs")
        return runs_page(view, rows[:_PAGE_ROWS], state, last)

    @routes.get("/runs/{run_id:int}")
    @requires(Role.READ)
    def show_run(request: Request, caller: Caller, run_id: RunId) -> str:
        """Show one run."""
        run = service.database.read(lambda connection: get_run(connection, run_id))
        view = viewed(request, caller, service.clock(), "/runs")
        return run_page(view, run, reading.run_details(service, run))


def _add_comparison(routes: APIRouter, service: Service) -> None:
    @routes.get("/compare")
    @requires(Role.READ)
    async def show_comparison(
        request: Request,
        caller: Caller,
        run: Annotated[list[int], Query(max_length=20)] = [],  # noqa: B006 - pydantic copies it
    ) -> Response:
        """Show runs side by side, and those that can be."""
        runs = await run_in_threadpool(service.database.read, reading.finished_trainings)
        view = viewed(request, caller, service.clock(), "/compare")
        numbers = tuple(sorted(set(run)))
        if not numbers:
            return HTMLResponse(compare_page(view, runs, ()))
        try:
            if len(numbers) < 2:
                raise UsageError("choose two runs or more to compare")
            folders = await run_in_threadpool(require_comparable, service, numbers)
            comparisons: Comparisons = request.app.state.comparisons
            comparison = await comparisons.of(folders)
        except CrossanError as error:
            # One that is chosen alone, by the link of its page, is no mistake.
            shown = None if len(numbers) == 1 else error
            return HTMLResponse(compare_page(view, runs, numbers, error=shown))
        return HTMLResponse(compare_page(view, runs, numbers, comparison))


def _add_nights(routes: APIRouter, service: Service) -> None:
    @routes.get("/nights")
    @requires(Role.READ)
    def show_nights(request: Request, caller: Caller, before: _Before = None) -> str:
        """Show the list of nights."""
        rows = service.database.read(
            lambda connection: list_nights(connection, before=before, limit=_PAGE_ROWS + 1)
        )
        last = rows[_PAGE_ROWS - 1].id if len(rows) > _PAGE_ROWS else None
        view = viewed(request, caller, service.clock(), "/nights")
        return nights_page(view, rows[:_PAGE_ROWS], last)

    @routes.get("/nights/{night_id:int}")
    @requires(Role.READ)
    def show_night(request: Request, caller: Caller, night_id: RunId) -> str:
        """Show one night with its steps."""
        night, steps = service.database.read(
            lambda connection: (
                get_night(connection, night_id),
                reading.steps_of(connection, night_id),
            )
        )
        view = viewed(request, caller, service.clock(), "/nights")
        return night_page(view, night, steps, reading.running_of(service, steps))

    @routes.get("/triggers")
    @requires(Role.READ)
    def show_triggers(request: Request, caller: Caller) -> str:
        """Show all triggers."""
        triggers = service.database.read(list_triggers)
        numbers = [one.last_night for one in triggers if one.last_night is not None]
        nights = service.database.read(lambda connection: reading.last_nights(connection, numbers))
        view = viewed(request, caller, service.clock(), "/triggers")
        return triggers_page(view, triggers, nights)

    @routes.get("/stores")
    @requires(Role.READ)
    def show_stores(request: Request, caller: Caller) -> str:
        """Show how the stores are."""
        view = viewed(request, caller, service.clock(), "/stores")
        return stores_page(view, list_stores(service))


def _add_models(routes: APIRouter, service: Service) -> None:
    @routes.get("/models")
    @requires(Role.READ)
    def show_models(request: Request, caller: Caller, before: _Before = None) -> str:
        """Show the versions of models."""
        rows = service.registry.versions(before=before, limit=_PAGE_ROWS + 1)
        last = rows[_PAGE_ROWS - 1].version if len(rows) > _PAGE_ROWS else None
        aliases = {one.name: one for one in service.registry.aliases()}
        view = viewed(request, caller, service.clock(), "/models")
        return models_page(view, rows[:_PAGE_ROWS], aliases, reading.all_moves(service), last)

    @routes.get("/models/{version:int}")
    @requires(Role.READ)
    def show_model(request: Request, caller: Caller, version: RunId) -> str:
        """Show one version."""
        model = service.registry.get(version)
        aliases = {one.name: one for one in service.registry.aliases()}
        moves = [one for one in reading.all_moves(service) if one.version == version]
        view = viewed(request, caller, service.clock(), "/models")
        return model_page(view, model, aliases, moves)

    @routes.get("/audit")
    @requires(Role.READ)
    def show_audit(request: Request, caller: Caller, before: _Before = None) -> str:
        """Show who changed what."""
        lines = service.registry.audit(limit=_PAGE_ROWS + 1, before=before)
        last = lines[_PAGE_ROWS - 1].id if len(lines) > _PAGE_ROWS else None
        view = viewed(request, caller, service.clock(), "/audit")
        return audit_page(view, lines[:_PAGE_ROWS], last)


@cache
def _static(name: str) -> bytes:
    return (files(__package__) / "static" / name).read_bytes()
