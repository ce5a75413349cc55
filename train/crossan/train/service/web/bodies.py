"""Reading the body of a request as a whole, within bounds of size and time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from crossan.cache_schema.errors import ConfigError
from crossan.train.service.web.answers import RefusedError, json_answer
from crossan.train.service.web.errors import error_body
from crossan.train.service.web.strict_json import require_strict_json

__all__ = ["BodyLimits", "BodyRoom", "read_body", "replayed", "require_content"]

Receive = Callable[[], Awaitable[Any]]

_JSON = "application/json"
_FORM = "application/x-www-form-urlencoded"
_JSON_PATHS = "/v1/"
_SMALL = 16 * 1024
"""Bytes of a body that has room whatever the others take."""
_ROOM = 8 * 1024 * 1024
"""Bytes of larger bodies that are held at once."""


class BodyLimits(NamedTuple):
    """How large a body may be, and how long it may take."""

    byte_count: int
    seconds: float


class BodyRoom:
    """The memory that the bodies of all requests in progress share.

    A spec takes a few hundred bytes, and always finds room.

    Parameters
    ----------
    byte_count
        For all bodies together, of each what is beyond 16 KiB.
    """

    def __init__(self, byte_count: int = _ROOM) -> None:
        self._free = byte_count

    @contextmanager
    def part(self) -> Iterator[Callable[[int], None]]:
        """Hold room for one body while the block runs.

        Yields
        ------
        Callable
            To be called with the body's length so far, as it grows. It raises a `RefusedError`
            where there is no room.
        """
        held = 0

        def grow(length: int) -> None:
            nonlocal held
            more = max(0, length - _SMALL) - held
            if more > self._free:
                raise RefusedError(
                    json_answer(
                        503,
                        error_body("body: the server holds as many large ones as it can"),
                        {"connection": "close", "retry-after": "1"},
                    )
                )
            self._free -= more
            held += more

        try:
            yield grow
        finally:
            self._free += held


async def read_body(
    receive: Receive,
    headers: Mapping[bytes, bytes],
    limits: BodyLimits,
    grow: Callable[[int], None],
) -> bytes:
    """Return the whole body.

    Parameters
    ----------
    receive
        Of the request.
    headers
        Of the request.
    limits
        Of this body.
    grow
        Of its part of a `BodyRoom`.

    Raises
    ------
    RefusedError
        It is too large, also where its length was not announced, or too slow, or there is no room.
    ConnectionError
        The client went away.
    """
    announced = headers.get(b"content-length", b"0")
    if len(announced) > 18 or (announced.isdigit() and int(announced) > limits.byte_count):
        raise _too_large(limits)
    body = bytearray()
    try:
        async with asyncio.timeout(limits.seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ConnectionError("the client went away")
                body += message.get("body", b"")
                if len(body) > limits.byte_count:
                    raise _too_large(limits)
                grow(len(body))
                if not message.get("more_body", False):
                    return bytes(body)
    except TimeoutError:
        raise _refused(
            408, f"body: expected all of it within {limits.seconds:g} s, found less"
        ) from None


def require_content(path: str, headers: Mapping[bytes, bytes], body: bytes) -> None:
    """Refuse a body of another type than the path takes, and JSON that is not strict.

    Raises
    ------
    RefusedError
        It is one.
    """
    if not body:
        return
    media_type = headers.get(b"content-type", b"").split(b";")[0].strip().lower().decode("latin-1")
    expected = _JSON if path.startswith(_JSON_PATHS) else _FORM
    if media_type != expected:
        raise _refused(415, f"content-type: expected {expected}, found {media_type or 'none'}")
    if expected == _JSON:
        try:
            require_strict_json(body)
        except ConfigError as error:
            raise _refused(422, error.message, field="body") from None


def replayed(body: bytes, receive: Receive) -> Receive:
    """Return a ``receive`` that gives a body that was read, and then waits for the end."""
    is_given = False

    async def give() -> Any:  # noqa: ANN401 - messages of ASGI
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return give


def _too_large(limits: BodyLimits) -> RefusedError:
    return _refused(413, f"body: expected at most {limits.byte_count:,} bytes, found more")


def _refused(status: int, message: str, field: str | None = None) -> RefusedError:
    return RefusedError(
        json_answer(status, error_body(message, field=field), {"connection": "close"})
    )
