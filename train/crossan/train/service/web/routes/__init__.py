"""The routes of each room.

Each module has ``router(service) -> APIRouter``; every route declares its role by `requires`.
A missing thing is a `UsageError` (404), a bad value a `ConfigError` (422).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from fastapi import APIRouter

from crossan.train.service.web.pages import routes as pages
from crossan.train.service.web.routes import (
    comparing,
    events,
    files,
    health,
    metrics,
    models,
    nights,
    recommend,
    runs,
)

if TYPE_CHECKING:
    from crossan.train.service.server import Service

__all__ = ["ROUTERS"]

ROUTERS: tuple[Callable[[Service], APIRouter], ...] = (
    health.router,
    metrics.router,
    runs.router,
    files.router,
    events.router,
    comparing.router,
    models.router,
    recommend.router,
    nights.router,
    pages.router,
)
"""What `build_app` puts together, in this order."""
