"""``/v1/recommend``: the answers of the model in production."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator
from pydantic_core.core_schema import ValidationInfo

from crossan.cache_schema.errors import ConfigError, UsageError
from crossan.common.config import Settings
from crossan.train.service.server import Service
from crossan.train.service.web.roles import Role, at_once, requires
from crossan.train.service.web.views import ERRORS

__all__ = [
    "QUESTIONS",
    "LeastNew",
    "MaskHistory",
    "MostItems",
    "RecommendationView",
    "Wish",
    "require_room",
    "router",
]

_Id = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
_MOST_ITEMS = 1000
QUESTIONS = 8
"""Of one token at once: the recommender answers as many together."""
MostItems = Annotated[int, Query(ge=1, le=_MOST_ITEMS)]
"""How many items an answer may have."""
LeastNew = Annotated[
    int,
    Query(
        ge=0,
        le=_MOST_ITEMS,
        description="Items that nobody had in training, of which the list has so many at least,"
        " where there are so many; at most top.",
    ),
]
"""How many new items an answer has at least."""
MaskHistory = Literal["all", "none"]
"""Whether items of the history are left out."""


class _View(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class AnsweringModel(_View):
    """The model that answered."""

    version: int
    run: int
    """The training that it comes from."""


class RecommendedItem(_View):
    """One item."""

    item_id: str
    title: str | None
    score: float
    """Higher is better; of one model alone they can be compared."""


class RecommendationView(_View):
    """The best items for somebody, the best first."""

    model: AnsweringModel
    items: list[RecommendedItem]
    unknown: list[str]
    """Items of the history that the model does not know, and that it was not read with."""


class Wish(Settings):
    """What somebody has had, and what is wanted."""

    history: tuple[_Id, ...] = Field(min_length=1, max_length=1000)
    """Item ids, oldest first. One at least must be known to the model."""

    top: int = Field(default=10, ge=1, le=_MOST_ITEMS)
    """Items at most."""

    new: int = Field(default=0, ge=0, le=_MOST_ITEMS)
    """Items that nobody had in training, of which the list has so many at least, where there are so
    many; at most ``top``."""

    mask_history: MaskHistory = "all"
    """Whether items of the history are left out."""

    @field_validator("new")
    @classmethod
    def _has_room(cls, value: int, read: ValidationInfo) -> int:
        """Refuse more new items than the list has places."""
        if value > read.data.get("top", _MOST_ITEMS):  # without top, that is what is wrong
            raise ValueError(_no_room(read.data["top"]))
        return value

    def request(self) -> dict[str, Any]:
        """Return what the process that answers is asked."""
        return self.model_dump(mode="json")


def require_room(new: int, top: int) -> None:
    """Refuse more new items than a list has places.

    Raises
    ------
    ConfigError
        There are more.
    """
    if new > top:
        raise ConfigError(f"new: {_no_room(top)}, got {new}")


def _no_room(top: int) -> str:
    return f"expected at most the {top} items of top"


def router(service: Service) -> APIRouter:
    """Return the routes of recommendations."""
    routes = APIRouter(prefix="/v1/recommend", tags=["recommend"], responses=ERRORS)

    runs: dict[int, int] = {}

    def answer(request: dict[str, Any]) -> JSONResponse:
        told = service.serving.ask(request)
        version = told["version"]
        if version not in runs:  # a version never changes
            runs[version] = service.registry.get(version).run_id
        model = {"version": version, "run": runs[version]}
        # What our own process says is not validated again, which took as long as the rest.
        return JSONResponse({"model": model, "items": told["items"], "unknown": told["unknown"]})

    @routes.get("", response_model=RecommendationView)
    @requires(Role.READ)
    @at_once(QUESTIONS)
    def recommend_to_user(
        user: Annotated[_Id, Query(description="A user of the dataset, as it is now.")],
        top: MostItems = 10,
        mask_history: MaskHistory = "all",
        new: LeastNew = 0,
    ) -> JSONResponse:
        """Return the best items for a user of the dataset, by all that the user has had."""
        require_room(new, top)
        return answer({"user": user, "top": top, "new": new, "mask_history": mask_history})

    @routes.post("", response_model=RecommendationView)
    @requires(Role.READ)
    @at_once(QUESTIONS)
    def recommend_after_history(wish: Wish) -> JSONResponse:
        """Return the best items after a history, of whomever it is."""
        try:
            return answer(wish.request())
        except UsageError as error:
            # What is missing is named by the body, not by the address.
            raise ConfigError(error.message, remedy=error.remedy) from error

    return routes
