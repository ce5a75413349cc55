"""The head of a request as the outermost layer reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from crossan.train.service.web.answers import RefusedError, json_answer
from crossan.train.service.web.errors import error_body
from crossan.train.service.web.sessions import COOKIE

__all__ = ["SAFE_METHODS", "Head", "head_of"]

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_SINGLE = frozenset({b"authorization", b"content-length", b"content-type", b"host", b"origin"})
"""Headers that may come once: of two, each reader might take another."""


class Head(NamedTuple):
    """Method, path and headers of a request."""

    method: str
    path: str
    """Without percent signs, as routes are matched."""
    target: str
    """Path and query as they came."""
    headers: Mapping[bytes, bytes]

    @property
    def bearer(self) -> bytes | None:
        """The token of the ``Authorization`` header, None where it has none."""
        scheme, _, token = self.headers.get(b"authorization", b"").partition(b" ")
        return token.strip() if scheme.lower() == b"bearer" else None

    @property
    def session_id(self) -> bytes | None:
        """The session that the cookie names, None where there is no such cookie."""
        for part in self.headers.get(b"cookie", b"").split(b";"):
            name, separator, value = part.strip().partition(b"=")
            if separator and name == COOKIE.encode():
                return value
        return None

    @property
    def has_body(self) -> bool:
        """Whether a body follows."""
        return b"transfer-encoding" in self.headers or (
            self.headers.get(b"content-length", b"0").strip(b"0") != b""
        )

    @property
    def wants_page(self) -> bool:
        """Whether a browser asks for a page to show."""
        return self.method in {"GET", "HEAD"} and b"text/html" in self.headers.get(b"accept", b"")


def head_of(scope: Mapping[str, Any]) -> Head:
    """Return the head of an ASGI request.

    Raises
    ------
    RefusedError
        A header that decides who may do what comes twice.
    """
    headers: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        if name not in headers:
            headers[name] = value
        elif name in _SINGLE:
            message = f"{name.decode()}: expected this header once, found it twice"
            raise RefusedError(json_answer(400, error_body(message), {"connection": "close"}))
        else:
            headers[name] += (b"; " if name == b"cookie" else b", ") + value
    query = scope["query_string"].decode("latin-1")
    path = scope.get("raw_path", scope["path"].encode()).decode("latin-1")
    return Head(scope["method"], scope["path"], f"{path}?{query}" if query else path, headers)
