"""Server-sent events: of one run, and of the whole service."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Annotated

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from crossan.cache_schema.errors import CrossanError
from crossan.train.service.server import Service
from crossan.train.service.web.following import Event, RunWatch
from crossan.train.service.web.roles import Role, lasting, requires
from crossan.train.service.web.routes.runs import RunId
from crossan.train.service.web.service_watch import ServiceWatch
from crossan.train.service.web.streams import Streams
from crossan.train.service.web.views import ERRORS

__all__ = ["encoded", "router"]

_LOOK_SECONDS = 0.5
_HEARTBEAT_LOOKS = 20
"""Looks without news after which a comment shows that the stream lives."""
_LOOKS = 2 * 3600
"""Looks after which a stream ends; browsers begin another by themselves."""
_RESPONSES = {
    **ERRORS,
    200: {"description": "Events.", "content": {"text/event-stream": {}}},
    204: {"description": "All was sent."},
}
_LastId = Annotated[str | None, Header(alias="Last-Event-ID", max_length=100)]


def encoded(event: Event) -> bytes:
    """Return an event as a stream has it."""
    number = "" if event.id is None else f"id: {event.id}\n"
    text = json.dumps(event.content, ensure_ascii=False)
    return f"{number}event: {event.name}\ndata: {text}\n\n".encode(errors="replace")


def router(service: Service) -> APIRouter:
    """Return the routes that send events."""
    routes = APIRouter(tags=["events"], responses=_RESPONSES)

    @routes.get("/v1/runs/{run_id}/events", response_class=Response)
    @requires(Role.READ)
    @lasting
    async def follow_run(request: Request, run_id: RunId, last_id: _LastId = None) -> Response:
        """Send ``state``, ``log`` and ``curve`` of a run as they change, and ``end`` at its end."""
        if last_id == RunWatch.LAST_ID:
            return Response(status_code=204)
        streams: Streams = request.app.state.streams
        streams.require_room()
        watch = await run_in_threadpool(RunWatch, service, run_id, last_id)
        return _streaming(streams, watch.look)

    @routes.get("/v1/events", response_class=Response)
    @requires(Role.READ)
    @lasting
    async def follow_service(request: Request) -> Response:
        """Send ``run``, ``night``, ``trigger``, ``alias``, ``epoch`` or ``answering`` as each changes.

        ``epoch`` names a training whose curve has grown, ``answering`` the version of the model
        that answers recommendations.
        """
        streams: Streams = request.app.state.streams
        streams.require_room()
        watch = await run_in_threadpool(ServiceWatch, service)
        return _streaming(streams, watch.look)

    return routes


def _streaming(streams: Streams, look: Callable[[], list[Event]]) -> StreamingResponse:
    return StreamingResponse(
        _events(streams, look),
        media_type="text/event-stream",
        headers={"cache-control": "no-store", "x-accel-buffering": "no"},
    )


async def _events(streams: Streams, look: Callable[[], list[Event]]) -> AsyncIterator[bytes]:
    """Yield events until the watch has sent its last, the server ends, or nobody reads."""
    with streams.one():
        yield b"retry: 2000\n\n"
        quiet = 0
        for _ in range(_LOOKS):
            try:
                events = await run_in_threadpool(look)
            except CrossanError:
                return  # of the database: a client that asks again is told
            for event in events:
                yield encoded(event)
                if event.id == RunWatch.LAST_ID:
                    return
            quiet = 0 if events else quiet + 1
            if quiet % _HEARTBEAT_LOOKS == _HEARTBEAT_LOOKS - 1:
                yield b": alive\n\n"
            if await streams.has_ended_within(_LOOK_SECONDS):
                return
