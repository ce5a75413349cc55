"""Promoting a model and going back, each behind a question that holds what the reader has seen."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import HTMLResponse
from starlette.concurrency import run_in_threadpool

from crossan.cache_schema.errors import UsageError
from crossan.train.service.registry.moving import version_before
from crossan.train.service.server import Service
from crossan.train.service.specs import PRODUCTION
from crossan.train.service.web.callers import Caller
from crossan.train.service.web.pages import forms
from crossan.train.service.web.pages.answers import redirected, viewed
from crossan.train.service.web.pages.model_pages import promote_page, rollback_page
from crossan.train.service.web.roles import Role, requires
from crossan.train.service.web.routes.runs import RunId

__all__ = ["add_model_forms"]

_Alias = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]


def add_model_forms(routes: APIRouter, service: Service) -> None:
    """Add the routes that move aliases."""

    @routes.get("/models/{version:int}/promote")
    @requires(Role.ADMIN)
    def ask_to_promote(request: Request, caller: Caller, version: RunId) -> Response:
        """Ask whether a version is to be promoted, unless it is in production."""
        model, alias = service.registry.get(version), service.registry.alias(PRODUCTION)
        if alias is not None and alias.version == version:
            return redirected(f"/models/{version}", "in-production")
        current = None if alias is None else service.registry.get(alias.version)
        view = viewed(request, caller, service.clock(), "/models")
        return HTMLResponse(promote_page(view, model, alias, current))

    @routes.post("/models/{version:int}/promote")
    @requires(Role.ADMIN)
    async def promote(request: Request, caller: Caller, version: RunId) -> Response:
        """Promote a version, if the alias is still as it was shown."""
        expected = forms.whole_number(forms.parsed_form(await request.body()), "expected_revision")
        await run_in_threadpool(
            service.registry.promote, PRODUCTION, version, expected, caller.name
        )
        return redirected("/models", "promoted")

    @routes.get("/aliases/{name}/rollback")
    @requires(Role.ADMIN)
    def ask_to_roll_back(request: Request, caller: Caller, name: _Alias) -> str:
        """Ask whether an alias is to go back."""
        alias = service.registry.alias(name)
        if alias is None:
            raise UsageError(f"alias {name}: no such alias", remedy="crossan models ls")
        before = service.database.read(lambda connection: version_before(connection, name))
        current, earlier = service.registry.get(alias.version), service.registry.get(before)
        view = viewed(request, caller, service.clock(), "/models")
        return rollback_page(view, alias, current, earlier)

    @routes.post("/aliases/{name}/rollback")
    @requires(Role.ADMIN)
    async def roll_back(request: Request, caller: Caller, name: _Alias) -> Response:
        """Move an alias back, if it is still as it was shown."""
        expected = forms.whole_number(forms.parsed_form(await request.body()), "expected_revision")
        await run_in_threadpool(service.registry.rollback, name, expected, caller.name)
        return redirected("/models", "rolled-back")
