"""Answers of the dashboard: pages, also where something is wrong."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute

from crossan.cache_schema.errors import BusyError, ConfigError, CrossanError
from crossan.train.service.web.callers import Identity
from crossan.train.service.web.errors import status_of
from crossan.train.service.web.pages.rendering import View

__all__ = ["PageRoute", "error_page", "redirected", "viewed"]

_HEADINGS = {
    404: "There is no such thing",
    409: "It has changed meanwhile",
    422: "That is not valid",
}
_OTHER_HEADING = "That did not work"


class PageRoute(APIRoute):
    """A route whose errors are pages for people, with the status that they have as JSON."""

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
        """Return the handler with its errors turned into pages."""
        handler: Callable[[Request], Any] = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                response: Response = await handler(request)
            except RequestValidationError:
                error = ConfigError(f"{request.url.path}: a part of this address is not valid")
                return _refused(request, error)
            except CrossanError as error:
                return _refused(request, error)
            return response

        return answer


def viewed(request: Request, caller: Identity, now: float, here: str) -> View:
    """Return who looks at a page, where and when.

    Parameters
    ----------
    request
        Its query may name what was done before.
    caller
        Who sent it.
    now
        Seconds since 1970.
    here
        Address of the page in the navigation that it belongs to.
    """
    return View(caller, now, here, request.query_params.get("done", ""))


def redirected(target: str, done: str = "") -> Response:
    """Return the way to a page that says what was done.

    Parameters
    ----------
    target
        Address of the page.
    done
        A word of the notices that pages have.
    """
    return RedirectResponse(f"{target}?done={done}" if done else target, status_code=303)


def error_page(view: View, error: CrossanError, status: int) -> str:
    """Return a page that says what is wrong, and what mends it."""
    heading = _HEADINGS.get(status, _OTHER_HEADING)
    return view.render("error", heading=heading, error=error, back=view.here)


def _refused(request: Request, error: CrossanError) -> Response:
    status = status_of(error)
    first = "/" + request.url.path.strip("/").partition("/")[0]
    here = "/models" if first == "/aliases" else first
    view = View(request.state.identity, time.time(), here)
    if isinstance(error, BusyError) and here == "/models":
        # What the remedy of a command says is no help on a page.
        error = BusyError(error.message, remedy="Look at the models again, then decide anew")
    return HTMLResponse(error_page(view, error, status), status)
