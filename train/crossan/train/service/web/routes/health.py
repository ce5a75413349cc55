"""``/healthz`` and ``/readyz``."""

from __future__ import annotations

from fastapi import APIRouter

from crossan.train.service.server import Service
from crossan.train.service.web.roles import Role, requires

__all__ = ["router"]


def router(service: Service) -> APIRouter:
    """Return the routes that say how the server is."""
    routes = APIRouter(tags=["health"])

    @routes.get("/healthz")
    @requires(Role.READ)
    def healthz() -> dict[str, str]:
        """Answer, whatever else works."""
        return {"status": "ok"}

    @routes.get("/readyz")
    @requires(Role.READ)
    def readyz() -> dict[str, str]:
        """Answer 200 while the database can be read and written."""
        service.database.read(lambda connection: connection.execute("SELECT 1").fetchone())
        return {"status": "ready"}

    return routes
