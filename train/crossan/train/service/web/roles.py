"""What a caller may do, and how a route says what it needs."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any, TypeVar

__all__ = ["Role", "at_once", "is_lasting", "lasting", "requires", "role_of", "turns_of"]

EndpointT = TypeVar("EndpointT", bound=Callable[..., Any])

_ATTRIBUTE = "crossan_role"
_LASTING = "crossan_is_lasting"
_TURNS = "crossan_turns"
_COMPUTING_TURNS = 2
"""More threads that compute take no less time, and the loop waits for each of them."""


class Role(StrEnum):
    """What a token allows. Each role includes the ones before it."""

    READ = "read"
    """Look at everything, and ask for recommendations."""
    SUBMIT = "submit"
    """Queue and cancel runs and nights."""
    ADMIN = "admin"
    """Promote models, and change triggers."""

    def allows(self, needed: Role) -> bool:
        """Return whether a caller with this role may do what needs another."""
        order = list(Role)
        return order.index(self) >= order.index(needed)


def requires(role: Role) -> Callable[[EndpointT], EndpointT]:
    """Return a decorator that declares the role a route needs.

    It stands below the router's own decorator. A route without one is refused to everybody::

        @router.get("/v1/models")
        @requires(Role.READ)
        def list_models() -> list[ModelView]: ...
    """

    def declare(endpoint: EndpointT) -> EndpointT:
        setattr(endpoint, _ATTRIBUTE, role)
        return endpoint

    return declare


def role_of(endpoint: Callable[..., Any]) -> Role | None:
    """Return the role that a route's function declares, None where it declares none."""
    role = getattr(endpoint, _ATTRIBUTE, None)
    return role if isinstance(role, Role) else None


def lasting(endpoint: EndpointT) -> EndpointT:
    """Mark a route whose answers go on for as long as the client likes."""
    setattr(endpoint, _LASTING, True)
    return endpoint


def is_lasting(endpoint: Callable[..., Any]) -> bool:
    """Return whether a route's answers go on for as long as the client likes."""
    return getattr(endpoint, _LASTING, False)


def at_once(count: int) -> Callable[[EndpointT], EndpointT]:
    """Return a decorator that declares how many requests of one token a route may have in hand.

    By default two, which is right for a route whose thread computes. One that waits for a disk or
    for another process takes more, and routes with the same count share them.
    """

    def declare(endpoint: EndpointT) -> EndpointT:
        setattr(endpoint, _TURNS, count)
        return endpoint

    return declare


def turns_of(endpoint: Callable[..., Any]) -> int:
    """Return how many requests of one token a route may have in hand."""
    turns: int = getattr(endpoint, _TURNS, _COMPUTING_TURNS)
    return turns
