"""The settings of the kinds that have a vector for every user and learn from triples."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from crossan.train.settings.models import LearnsFrom, ModelSettings

__all__ = ["TripleSettings", "VbprSettings"]


class TripleSettings(ModelSettings):
    """What the kinds that learn from triples have, a user, an item of theirs and another item."""

    learns_from: ClassVar[LearnsFrom] = "triples"

    width: int = Field(default=64, ge=1)
    """Width of the vectors of users and items."""


class VbprSettings(TripleSettings):
    """Matrix factorisation with a projection of the last kept hidden states (VBPR)."""

    kind: Literal["vbpr"] = "vbpr"

    reads_hidden_states: ClassVar[bool] = True

    content_width: int = Field(default=64, ge=1)
    """Width of the projected hidden states, and of the users' vectors that they are scored by."""
