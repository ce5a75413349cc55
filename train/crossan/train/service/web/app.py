"""The application that uvicorn serves."""

from __future__ import annotations

from fastapi import FastAPI

from crossan.train.service.server import Service
from crossan.train.service.web.errors import add_error_handlers
from crossan.train.service.web.routes import ROUTERS

__all__ = ["build_app"]


def build_app(service: Service) -> FastAPI:
    """Return the application of a service, with the routes of all its rooms."""
    app = FastAPI(
        title="crossan",
        version="1",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    add_error_handlers(app)
    for router in ROUTERS:
        # Not include_router, which hides the routes from whoever enumerates them.
        app.router.routes.extend(router(service).routes)
    return app
