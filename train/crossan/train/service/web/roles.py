"""What a caller may do, and how a route says what it needs."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any, TypeVar

__all__ = ["Role", "is_lasting", "lasting", "requires", "role_of"]

EndpointT = TypeVar("EndpointT", bound=Callable[..., Any])

_ATTRIBUTE = "crossan_role"
_LASTING = "crossan_is_lasting"


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
