"""Errors as answers, all in one shape: ``{"error": {"message", "remedy", "field"?}}``."""

from __future__ import annotations

import logging
import secrets
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from crossan.cache_schema.errors import (
    BusyError,
    ConfigError,
    CrossanError,
    DataError,
    IncompatibleError,
    RemoteError,
    ResourceError,
    StoreIntegrityError,
    UsageError,
)
from crossan.train.service.database import DatabaseUnusableError, DiskFullError
from crossan.train.service.web.problems import first_problem

__all__ = ["add_error_handlers", "error_body", "status_of", "unexpected_body"]

_LOG = logging.getLogger("crossan.service.http")
_STATUS: tuple[tuple[type[CrossanError], int], ...] = (
    (ConfigError, 422),
    (UsageError, 404),
    (DataError, 422),
    (IncompatibleError, 409),
    (StoreIntegrityError, 409),
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


def unexpected_body(error: BaseException) -> dict[str, Any]:
    """Log an error that is a bug of ours under a new id, and return the JSON that names the id."""
    number = secrets.token_hex(4)
    _LOG.error("unexpected error %s", number, exc_info=error)
    return error_body(
        f"the server failed: error {number} in its log", "Send that part of the log with a report"
    )


def add_error_handlers(app: FastAPI) -> None:
    """Have an application answer errors in this shape."""
    app.add_exception_handler(CrossanError, _answer_ours)
    app.add_exception_handler(RequestValidationError, _answer_validation)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(Exception, _answer_unexpected)


def _answer_ours(request: Request, error: Exception) -> JSONResponse:
    del request
    assert isinstance(error, CrossanError)
    status = status_of(error)
    if status >= 500:
        _LOG.error("%s", error.message, extra={"fields": {"status": status}})
    field = getattr(error, "field", None)
    return JSONResponse(error_body(error.message, error.remedy, field), status)


def _answer_validation(request: Request, error: Exception) -> JSONResponse:
    del request
    assert isinstance(error, RequestValidationError)
    field, message = first_problem(error.errors())
    return JSONResponse(error_body(message, field=field), 422)


def _answer_http(request: Request, error: Exception) -> JSONResponse:
    del request
    assert isinstance(error, HTTPException)
    return JSONResponse(error_body(str(error.detail)), error.status_code, error.headers)


def _answer_unexpected(request: Request, error: Exception) -> JSONResponse:
    del request
    return JSONResponse(unexpected_body(error), 500)
