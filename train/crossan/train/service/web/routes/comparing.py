"""``/v1/compare``: what ``crossan compare --json`` says of runs."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool

from crossan.train.service.server import Service
from crossan.train.service.web.comparing import Comparisons, require_comparable
from crossan.train.service.web.roles import Role, requires
from crossan.train.service.web.views import ERRORS

__all__ = ["router"]

_Number = Annotated[int, Query(ge=1, lt=2**63)]


def router(service: Service) -> APIRouter:
    """Return the route of comparisons."""
    routes = APIRouter(tags=["runs"], responses=ERRORS)

    @routes.get("/v1/compare")
    @requires(Role.READ)
    async def compare(
        request: Request,
        run: Annotated[list[_Number], Query(min_length=2, max_length=20)],
    ) -> dict[str, Any]:
        """Set trainings side by side: figures, intervals and tests of differences."""
        numbers = tuple(dict.fromkeys(run))
        folders = await run_in_threadpool(require_comparable, service, numbers)
        comparisons: Comparisons = request.app.state.comparisons
        return await comparisons.of(folders)

    return routes
