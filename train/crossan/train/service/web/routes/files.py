"""What a run writes while it goes on: its log, and its curve."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel

from crossan.cache_schema.errors import UsageError
from crossan.train.service.queue.rows import RunRow, get_run
from crossan.train.service.server import Service
from crossan.train.service.web.roles import Role, requires
from crossan.train.service.web.routes.runs import RunId
from crossan.train.service.web.slices import CURVE_FILE, LARGEST_SLICE, LOG_FILE, lines_of, text_of
from crossan.train.service.web.views import ERRORS

__all__ = ["CurveSlice", "router"]

_Offset = Annotated[int, Query(alias="from", ge=-(2**62), lt=2**62)]


class CurveSlice(BaseModel):
    """Lines of a training's ``metrics.jsonl``."""

    lines: list[dict[str, Any]]
    next_offset: int


def router(service: Service) -> APIRouter:
    """Return the routes of a run's files."""
    routes = APIRouter(prefix="/v1/runs/{run_id}", tags=["runs"], responses=ERRORS)

    def run(run_id: int) -> RunRow:
        return service.database.read(lambda connection: get_run(connection, run_id))

    @routes.get("/log", response_class=PlainTextResponse)
    @requires(Role.READ)
    def show_log(
        run_id: RunId,
        attempt: Annotated[int | None, Query(ge=1, le=1000)] = None,
        begin: _Offset = 0,
        limit: Annotated[int, Query(ge=4, le=LARGEST_SLICE)] = LARGEST_SLICE,
    ) -> PlainTextResponse:
        """Return part of what an attempt printed, by default the latest.

        ``from`` is where to begin, in bytes; a negative one counts from the end. The header
        ``X-Next-Offset`` says where the next part begins.
        """
        row = run(run_id)
        number = row.attempt if attempt is None else attempt
        if number > row.attempt:
            raise UsageError(f"attempt {number}: run {run_id} had {row.attempt}")
        log = text_of(service.folder.attempt(run_id, number) / LOG_FILE, begin, limit)
        headers = {"x-next-offset": str(log.next_offset), "x-attempt": str(number)}
        return PlainTextResponse(log.text.encode(), headers=headers)

    @routes.get("/curve")
    @requires(Role.READ)
    def show_curve(run_id: RunId, begin: _Offset = 0) -> CurveSlice:
        """Return the lines that a training wrote, one for each epoch, from ``from`` on."""
        run(run_id)
        curve = lines_of(service.folder.output(run_id) / CURVE_FILE, max(begin, 0))
        return CurveSlice(lines=curve.lines, next_offset=curve.next_offset)

    return routes
