"""The application that uvicorn serves."""

from __future__ import annotations

import time

from fastapi import FastAPI

from crossan.train.service.server import Service
from crossan.train.service.web.access import Access
from crossan.train.service.web.bodies import BodyLimits
from crossan.train.service.web.comparing import Comparisons
from crossan.train.service.web.errors import add_error_handlers
from crossan.train.service.web.guard import Guard, Observe
from crossan.train.service.web.hosts import AllowedHosts
from crossan.train.service.web.rates import Rates
from crossan.train.service.web.routes import ROUTERS
from crossan.train.service.web.sessions import Sessions
from crossan.train.service.web.streams import Streams
from crossan.train.service.web.table import RouteTable
from crossan.train.service.web.tokens import Tokens

__all__ = ["build_app", "guarded"]


def build_app(service: Service) -> FastAPI:
    """Return the application of a service, with the routes of all its rooms.

    Nothing in it asks who calls: only `guarded` is to be served.
    """
    app = FastAPI(
        title="crossan",
        version="1",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.streams = Streams(service.settings.http.event_streams)
    app.state.comparisons = Comparisons()
    add_error_handlers(app)
    for router in ROUTERS:
        # Not include_router, which hides the routes from whoever enumerates them.
        app.router.routes.extend(router(service).routes)
    return app


def guarded(app: FastAPI, service: Service, tokens: Tokens, observe: Observe) -> Guard:
    """Return an application behind the outermost layer.

    Parameters
    ----------
    app
        What `build_app` returned.
    service
        Its service, whose settings hold the limits.
    tokens
        Who may call.
    observe
        Told of each answer.
    """
    http = service.settings.http
    access = Access(
        AllowedHosts(service.settings.names),
        tokens,
        Sessions(time.monotonic),
        Rates(http.requests_per_second, http.burst, time.monotonic),
    )
    limits = BodyLimits(http.body_kib * 1024, http.body_seconds)
    return Guard(app, access, RouteTable(app.routes), limits, observe)
