"""A page to try the model in production: what it recommends to a user, or after a history."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from crossan.cache_schema.errors import ConfigError, CrossanError
from crossan.train.service.server import Service
from crossan.train.service.web.callers import Caller
from crossan.train.service.web.errors import status_of
from crossan.train.service.web.pages import forms
from crossan.train.service.web.pages.answers import viewed
from crossan.train.service.web.roles import Role, at_once, requires
from crossan.train.service.web.routes.recommend import (
    QUESTIONS,
    LeastNew,
    MaskHistory,
    MostItems,
    require_room,
)

__all__ = ["NEWS", "TOPS", "add_recommend_page"]

_MOST_TEXT = 1024
"""Characters of a user id; of a history as many as an address has room for."""
TOPS = [(str(count), str(count)) for count in (5, 10, 20, 50)]
"""How many items the form offers to show."""
NEWS = [("0", "as they come"), *((str(count), f"at least {count}") for count in (1, 2, 3, 5))]
"""How many new items the form offers to have among them."""
_User = Annotated[str, Query(max_length=_MOST_TEXT)]
_History = Annotated[str, Query(max_length=8 * _MOST_TEXT)]


def add_recommend_page(routes: APIRouter, service: Service) -> None:
    """Add the route of the page."""

    @routes.get("/recommend")
    @requires(Role.READ)
    @at_once(QUESTIONS)
    def show_recommendations(
        request: Request,
        caller: Caller,
        user: _User = "",
        history: _History = "",
        top: MostItems = 10,
        mask_history: MaskHistory = "all",
        new: LeastNew = 0,
    ) -> HTMLResponse:
        """Show the best items for somebody, or the form that asks for whom."""
        view = viewed(request, caller, service.clock(), "/models")
        values = {"user": user, "history": history, "mask_history": mask_history}
        values |= {"top": str(top), "new": str(new)}
        answer, error = None, None
        try:
            require_room(new, top)
            question = _question(user.strip(), history, (top, new), mask_history)
            answer = None if question is None else service.serving.ask(question)
        except CrossanError as problem:
            error = problem
        page = view.render(
            "recommend", values=values, tops=TOPS, news=NEWS, answer=answer, error=error
        )
        return HTMLResponse(page, 200 if error is None else status_of(error))


def _question(
    user: str, history: str, length: tuple[int, int], mask_history: str
) -> dict[str, object] | None:
    """Return what the process that answers is asked, None where the form is empty."""
    if user and history.strip():
        raise ConfigError(
            "expected a user or a history, found both",
            remedy="Leave one of the two fields empty",
        )
    if user:
        top, new = length
        return {"user": user, "top": top, "new": new, "mask_history": mask_history}
    return forms.wish(history, length, mask_history).request() if history.strip() else None
