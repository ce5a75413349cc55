"""Filling the templates: every text is escaped, and a name that a page lacks is an error."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from crossan.train.service.web.callers import Identity
from crossan.train.service.web.pages import words
from crossan.train.service.web.pages.outcomes import outcome_of
from crossan.train.service.web.roles import Role

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["NAVIGATION", "View", "environment"]

NAVIGATION = (
    ("/", "Overview"),
    ("/runs", "Runs"),
    ("/nights", "Nights"),
    ("/models", "Models"),
    ("/triggers", "Triggers"),
    ("/stores", "Stores"),
    ("/compare", "Compare"),
    ("/audit", "Audit"),
)
"""Address and name of each page, as they stand on top of all of them."""

_DASH = "\N{EN DASH}"
"""Stands in tables where there is nothing."""

NOTICES = {
    "queued": "It is in the queue.",
    "cancelled": "It is cancelled.",
    "stopping": "It is being stopped; its processes end within 15 seconds.",
    "promoted": "The alias names this model now.",
    "rolled-back": "The alias names the model before again.",
    "added": "The trigger is added.",
    "removed": "The trigger is removed.",
    "begun": "The night has begun.",
    "in-production": "This model is in production already.",
}
"""What a page says after something was done, by the word that its address ends with."""


@dataclass(frozen=True, slots=True)
class View:
    """Who looks at a page, where and when."""

    identity: Identity
    now: float
    """Seconds since 1970."""
    here: str
    """Address of the page in the navigation that this one belongs to."""
    notice: str = ""
    """One of `NOTICES`; any other word says nothing."""

    @property
    def may_submit(self) -> bool:
        """Return whether buttons that queue and cancel are shown."""
        return self.identity.role.allows(Role.SUBMIT)

    @property
    def may_admin(self) -> bool:
        """Return whether buttons that promote models and change triggers are shown."""
        return self.identity.role.allows(Role.ADMIN)

    def render(self, template: str, **values: Any) -> str:  # noqa: ANN401 - a template takes anything
        """Return a page.

        Parameters
        ----------
        template
            Name of the template, without its suffix.
        values
            What it shows.
        """
        page = environment().get_template(f"{template}.html.jinja")
        return page.render(
            viewer=_Viewer(self.identity.name, self.identity.role, self.may_submit, self.may_admin),
            navigation=NAVIGATION,
            here=self.here,
            now=self.now,
            notice=NOTICES.get(self.notice, ""),
            **values,
        )


@dataclass(frozen=True, slots=True)
class _Viewer:
    """Who looks at a page, as templates read it."""

    name: str
    role: Role
    may_submit: bool
    may_admin: bool


@cache
def environment() -> Environment:
    """Return what templates are loaded and filled by."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("crossan.train.service.web.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters.update(_FILTERS)
    return made


def _signed(value: float | None) -> str:
    """Return a difference with its sign, whose minus is as wide as its plus."""
    if value is None:
        return _DASH
    return f"{value:+.4f}".replace("-", "\N{MINUS SIGN}")


def _address(subject: str) -> str:
    """Return the address of what an audit line is about, empty where it has no page."""
    named = _SUBJECT.fullmatch(subject)
    return f"/{named[1]}s/{named[2]}" if named else ""


def _word(state: str) -> str:
    """Return a state as one word, for a style sheet."""
    return state.replace(" ", "-")


_SUBJECT = re.compile(r"(model|night|run) ([1-9][0-9]{0,17})")
_FILTERS: Mapping[str, Any] = {
    "address": _address,
    "ago": words.ago,
    "exact": words.exact,
    "figure": partial(words.figure, otherwise=_DASH),
    "flat": words.flat,
    "iso": words.iso,
    "length_of": words.length,
    "outcome": outcome_of,
    "signed": _signed,
    "size": words.size,
    "stamp": words.stamp,
    "word": _word,
}
