"""Who sent a request, as route functions read it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from crossan.train.service.web.roles import Role

__all__ = ["Caller", "Identity"]


@dataclass(frozen=True, slots=True)
class Identity:
    """The holder of a token."""

    name: str
    """Name of the token; it stands in ``submitted_by`` and in the audit log."""
    role: Role


async def _identity(request: Request) -> Identity:
    # A coroutine, as FastAPI would have a thread call a plain function.
    identity = request.state.identity
    assert isinstance(identity, Identity)
    return identity


Caller = Annotated[Identity, Depends(_identity)]
"""A parameter of a route function: who calls it."""
