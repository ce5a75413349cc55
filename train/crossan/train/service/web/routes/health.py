"""``/healthz`` and ``/readyz``."""

from __future__ import annotations

from fastapi import APIRouter

from crossan.train.service.database.schema import SCHEMA_VERSION
from crossan.train.service.server import Service
from crossan.train.service.web.roles import Role, requires
from crossan.train.service.web.views import ERRORS

__all__ = ["router"]


def router(service: Service) -> APIRouter:
    """Return the routes that say how the server is."""
    routes = APIRouter(tags=["health"], responses=ERRORS)

    @routes.get("/healthz")
    @requires(Role.READ)
    def healthz() -> dict[str, str]:
        """Answer, whatever else works."""
        return {"status": "ok"}

    @routes.get("/readyz")
    @requires(Role.READ)
    def readyz() -> dict[str, str]:
        """Answer 200 while the database can be read and written."""
        # What it says already, so that nothing changes; but the disk must take the page.
        service.database.write(
            lambda connection: connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        )
        return {"status": "ready"}

    return routes
