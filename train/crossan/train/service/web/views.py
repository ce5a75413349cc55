"""What the queue holds, as clients see it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Self

from fastapi import Response
from pydantic import BaseModel, ConfigDict, Field

from crossan.train.service.queue.rows import RunRow, State, Step
from crossan.train.service.specs import Limits

__all__ = ["ERRORS", "ErrorView", "RunPage", "RunView", "Time", "answer_of", "time_of"]

Time = str
"""RFC 3339 in UTC, for example ``2026-11-27T22:40:14.123Z``."""


def time_of(seconds: float | None) -> Time | None:
    """Return seconds since 1970 as RFC 3339 in UTC, None for None."""
    if seconds is None:
        return None
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


class _View(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


def answer_of(view: BaseModel, status: int = 200) -> Response:
    """Return a view as an answer.

    FastAPI would validate it once more, in a thread of its own.
    """
    return Response(view.model_dump_json(), status, media_type="application/json")


class _Problem(_View):
    message: str
    """What was expected, and what was found."""
    remedy: str | None
    """What mends it."""
    field: str | None = None
    """The field of the request that is wrong."""


class ErrorView(_View):
    """Any answer with a status of 400 or more."""

    error: _Problem


class RunView(_View):
    """A run of the queue."""

    id: int
    step: Step
    """What it does: a lone run trains, a night has a run for each of its steps."""
    dataset: str
    spec: dict[str, Any]
    label: str
    state: State
    attempt: int
    """Number of the latest attempt, 0 before the first."""
    reason: str
    """Why it ended as it did."""
    exit_code: int | None
    result: dict[str, Any] | None
    limits: Limits
    submitted_by: str
    """Name of the token."""
    created: Time
    started: Time | None
    ended: Time | None
    night_id: int | None
    needs: int | None
    """The run that must succeed first."""
    about: int | None
    """The training that an evaluation, a gate, a refit or a promotion is about."""

    @classmethod
    def of(cls, row: RunRow) -> Self:
        """Return the view of a row."""
        return cls(
            id=row.id,
            step=row.step,
            dataset=row.dataset,
            spec=dict(row.spec),
            label=row.label,
            state=row.state,
            attempt=row.attempt,
            reason=row.reason,
            exit_code=row.exit_code,
            result=None if row.result is None else dict(row.result),
            limits=row.limits,
            submitted_by=row.submitted_by,
            created=time_of(row.created) or "",
            started=time_of(row.started),
            ended=time_of(row.ended),
            night_id=row.night_id,
            needs=row.needs,
            about=row.about,
        )


class RunPage(_View):
    """Some runs, the newest first."""

    runs: list[RunView]
    before: int | None = Field(...)
    """What to ask for the next page with; None on the last one."""


ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"description": text}
    for status, text in {
        401: "No token, or a wrong one.",
        403: "The token's role is too low, or a page of another site asks.",
        404: "There is no such thing.",
        409: "It is in use, or has moved meanwhile.",
        413: "The body is too large.",
        422: "A value is wrong; `field` says which.",
        429: "Too many requests of this token; `Retry-After` says when to come again.",
        503: "The service cannot do it now; `remedy` says what mends that.",
        507: "The disk is full.",
    }.items()
}
"""Answers that any route may give.

Their shape, an `ErrorView`, is said once by the document: with a model here, FastAPI would make nine
validators for each route while the server starts.
"""
