"""Errors as answers, all in one shape: ``{"error": {"message", "remedy", "field"?}}``."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from crossan.cache_schema.errors import (
    BusyError,
    ConfigError,
    CrossanError,
    DataError,
    IncompatibleError,
    RemoteError,
    ResourceError,
    UsageError,
)
from crossan.train.service.database import DatabaseUnusableError, DiskFullError

__all__ = ["add_error_handlers", "error_body", "status_of"]

_STATUS: tuple[tuple[type[CrossanError], int], ...] = (
    (ConfigError, 422),
    (UsageError, 404),
    (DataError, 422),
    (IncompatibleError, 409),
    (BusyError, 409),
    (DiskFullError, 507),
    (DatabaseUnusableError, 503),
    (ResourceError, 503),
    (RemoteError, 502),
)
"""The first class that an error is one of decides."""


def status_of(error: CrossanError) -> int:
    """Return the HTTP status of an error of ours."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def error_body(message: str, remedy: str | None = None, field: str | None = None) -> dict[str, Any]:
    """Return the JSON of an error.

    Parameters
    ----------
    message, remedy
        As in `CrossanError`.
    field
        The field of the request that is wrong, for example ``limits.cpus``.
    """
    error: dict[str, Any] = {"message": message, "remedy": remedy}
    if field is not None:
        error["field"] = field
    return {"error": error}


def add_error_handlers(app: FastAPI) -> None:
    """Have an application answer errors in this shape."""
    app.add_exception_handler(CrossanError, _answer_ours)


def _answer_ours(request: Request, error: Exception) -> JSONResponse:
    del request
    assert isinstance(error, CrossanError)
    return JSONResponse(error_body(error.message, error.remedy), status_of(error))
