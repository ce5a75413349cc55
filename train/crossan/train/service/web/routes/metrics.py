"""``/metrics``, for Prometheus."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse

from crossan.train.service.server import Service
from crossan.train.service.web.roles import Role, requires
from crossan.train.service.web.views import ERRORS

__all__ = ["router"]

_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def router(service: Service) -> APIRouter:
    """Return the route of the metrics."""
    routes = APIRouter(tags=["health"], responses=ERRORS)

    @routes.get("/metrics", response_class=PlainTextResponse)
    @requires(Role.READ)
    def metrics() -> PlainTextResponse:
        """Return all metrics in Prometheus's text format."""
        return PlainTextResponse(service.metrics.text(), media_type=_CONTENT_TYPE)

    return routes
