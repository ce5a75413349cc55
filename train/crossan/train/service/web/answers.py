"""Answers of the outermost layer, and the headers that every answer gets."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Answer", "Headers", "RefusedError", "json_answer", "secured"]

Headers = list[tuple[bytes, bytes]]

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src {styles}; img-src 'self' data:;"
    " connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_FIXED: Mapping[bytes, bytes] = {
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"same-origin",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"permissions-policy": b"camera=(), geolocation=(), microphone=()",
}
_POLICY_HEADER = b"content-security-policy"
_CACHE_HEADER = b"cache-control"


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer."""

    status: int
    body: bytes
    content_type: str
    headers: Mapping[str, str] = field(default_factory=dict)
    styles: str = "'self'"
    """Where its styles may come from, as ``style-src`` has it."""

    def all_headers(self) -> Headers:
        """Return its headers, those of security among them."""
        given = {"content-type": self.content_type, "content-length": str(len(self.body))}
        plain = [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in {**given, **self.headers}.items()
        ]
        return secured(plain, styles=self.styles)


class RefusedError(Exception):
    """A request goes no further.

    Parameters
    ----------
    answer
        What the client gets.
    """

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


def json_answer(
    status: int, content: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> Answer:
    """Return an answer of JSON."""
    body = json.dumps(content, ensure_ascii=False, allow_nan=False).encode(errors="replace")
    return Answer(status, body, "application/json", headers or {})


def secured(headers: Iterable[tuple[bytes, bytes]], *, styles: str = "'self'") -> Headers:
    """Return headers with those that keep browsers from doing what our pages never need.

    Parameters
    ----------
    headers
        Of an answer. What they say of these matters is replaced, but for how long it may be kept.
    styles
        Where styles may come from.
    """
    replaced = {*_FIXED, _POLICY_HEADER, b"server"}
    kept = [(name, value) for name, value in headers if name.lower() not in replaced]
    if not any(name.lower() == _CACHE_HEADER for name, _ in kept):
        kept.append((_CACHE_HEADER, b"no-store"))
    policy = _POLICY.format(styles=styles).encode("latin-1")
    return [*kept, *_FIXED.items(), (_POLICY_HEADER, policy)]
