"""Asking the server: one request, one answer, its errors as ours."""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any
from urllib.parse import quote, urlencode, urlsplit

from crossan.cache_schema.errors import BusyError, CrossanError, RemoteError, UsageError
from crossan.train.service.client.connection import Connection

__all__ = ["Client", "in_path"]

_SECONDS = 60.0
"""Until an answer has to begin; a comparison takes longest."""
_SILENT_SECONDS = 40.0
"""Between two signs of a stream of events, which has one every ten seconds."""
_TRIES = 4
_LARGEST_ANSWER = 64 << 20
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_BUSY = {409}
_COME_AGAIN = {429, 503}


class Client:
    """Asks one server.

    Parameters
    ----------
    connection
        Where it is, and the token that it knows us by.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        is_near = urlsplit(connection.url).hostname in _LOOPBACK
        handlers: list[Any] = [_NoRedirects()]
        if is_near:
            # A proxy knows another machine by the name of this one.
            handlers.append(urllib.request.ProxyHandler({}))
        self._opener = urllib.request.build_opener(*handlers)

    def get(self, path: str, **query: object) -> Any:  # noqa: ANN401 - of JSON
        """Return the JSON that the server has at a path: an object or a list.

        Parameters
        ----------
        path
            For example ``/v1/runs``.
        query
            Parameters; those that are None are left out.

        Raises
        ------
        UsageError
            The server refuses the request.
        RemoteError
            It does not answer, or cannot.
        """
        return self._asked("GET", path, query)

    def post(
        self,
        path: str,
        content: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
    ) -> Any:  # noqa: ANN401 - of JSON
        """Send JSON and return the answer's.

        Parameters
        ----------
        path
            For example ``/v1/runs``.
        content
            What is sent.
        key
            An idempotency key: with one, the request is sent again where no answer came.

        Raises
        ------
        BusyError
            What it is about has changed meanwhile, or is in use.
        UsageError, RemoteError
            As for `get`.
        """
        return self._asked("POST", path, {}, content or {}, key)

    def delete(self, path: str) -> Any:  # noqa: ANN401 - of JSON
        """Remove what is at a path and return the answer; errors as for `post`."""
        return self._asked("DELETE", path, {})

    def text(self, path: str, **query: object) -> tuple[str, Mapping[str, str]]:
        """Return a text that the server has at a path, and the answer's headers."""
        with self._answer(self._request("GET", path, query), _SECONDS) as answer:
            content = _read(answer, path)
            return content.decode("utf-8", "replace"), dict(answer.headers.items())

    @contextmanager
    def stream(self, path: str, last_id: str | None = None) -> Iterator[IO[bytes] | None]:
        """Yield a stream of events as it comes, None where all was sent before.

        Parameters
        ----------
        path
            For example ``/v1/runs/3/events``.
        last_id
            Of the last event that was read, to go on behind it.
        """
        request = self._request("GET", path, {})
        request.add_header("Accept", "text/event-stream")
        if last_id is not None:
            request.add_header("Last-Event-ID", last_id)
        with self._answer(request, _SILENT_SECONDS) as answer:
            yield None if answer.status == http.client.NO_CONTENT else answer

    def unreachable(self, reason: object) -> RemoteError:
        """Return the error for a server that does not answer."""
        return RemoteError(
            f"{self.connection.url}: no server answers: {reason}",
            remedy=self.connection.start_command,
        )

    def _asked(
        self,
        method: str,
        path: str,
        query: Mapping[str, object],
        content: Mapping[str, Any] | None = None,
        key: str | None = None,
    ) -> Any:  # noqa: ANN401 - of JSON
        may_repeat = method == "GET" or key is not None
        for attempt in range(_TRIES):
            request = self._request(method, path, query, content, key)
            is_last = attempt == _TRIES - 1 or not may_repeat
            try:
                with self._answer(request, _SECONDS) as answer:
                    return _parsed(_read(answer, path), path)
            except _LaterError as later:
                if is_last:
                    raise
                time.sleep(min(later.seconds, 10.0))
            except RemoteError:
                # A server that ended in the middle may be back at once; one that is away is not.
                if is_last or attempt:
                    raise
                time.sleep(0.2)
        raise AssertionError("the last try returns or raises")

    def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, object],
        content: Mapping[str, Any] | None = None,
        key: str | None = None,
    ) -> urllib.request.Request:
        given = {name: value for name, value in query.items() if value is not None}
        address = f"{self.connection.url}{path}{f'?{urlencode(given)}' if given else ''}"
        body = None if content is None else json.dumps(content, allow_nan=False).encode()
        request = urllib.request.Request(address, data=body, method=method)  # noqa: S310 - checked to be http
        request.add_unredirected_header("Authorization", f"Bearer {self.connection.token}")
        request.add_header("Accept", "application/json")
        if body is not None:
            request.add_header("Content-Type", "application/json")
        if key is not None:
            request.add_header("Idempotency-Key", key)
        return request

    @contextmanager
    def _answer(
        self, request: urllib.request.Request, seconds: float
    ) -> Iterator[http.client.HTTPResponse]:
        """Yield an answer of the server, its refusals and its silence as errors of ours."""
        try:
            with self._opener.open(request, timeout=seconds) as answer:
                yield answer
        except urllib.error.HTTPError as refusal:
            with refusal:
                raise _error_of(refusal, self.connection) from None
        except urllib.error.URLError as error:
            raise self.unreachable(error.reason) from None
        except (OSError, http.client.HTTPException) as error:
            raise self.unreachable(error or type(error).__name__) from None


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: it could lead our token to another server."""

    def redirect_request(self, *given: object) -> None:
        """Return nothing, which makes the answer an error."""
        del given


class _LaterError(RemoteError):
    """The server asks to come again after some seconds."""

    seconds = 0.0


def in_path(text: str) -> str:
    """Return a text as one part of a path."""
    return quote(text, safe="")


def _error_of(refusal: urllib.error.HTTPError, connection: Connection) -> CrossanError:
    try:
        error = json.loads(refusal.read(1 << 20))["error"]
        message, remedy = str(error["message"]), error.get("remedy")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, http.client.HTTPException):
        return RemoteError(
            f"{connection.url}: expected the answer of a crossan server, found status"
            f" {refusal.code} {refusal.reason}"
        )
    if refusal.code == http.client.UNAUTHORIZED:
        return UsageError(
            f"{connection.url}: the server does not know this token",
            remedy="Name the file with yours: --token-file FILE",
        )
    if refusal.code in _BUSY:
        return BusyError(message, remedy=remedy)
    if refusal.code in _COME_AGAIN:
        seconds = refusal.headers.get("Retry-After", "")
        if not seconds.isdigit():
            return RemoteError(message, remedy=remedy)
        later = _LaterError(message, remedy=remedy)
        later.seconds = float(seconds)
        return later
    if refusal.code >= 500:
        return RemoteError(message, remedy=remedy)
    return UsageError(message, remedy=remedy)


def _read(answer: http.client.HTTPResponse, path: str) -> bytes:
    content = answer.read(_LARGEST_ANSWER + 1)
    if len(content) > _LARGEST_ANSWER:
        raise RemoteError(f"{path}: the answer is larger than {_LARGEST_ANSWER >> 20} MiB")
    return content


def _parsed(content: bytes, path: str) -> Any:  # noqa: ANN401 - of JSON
    if not content:
        return {}
    try:
        value = json.loads(content)
    except ValueError:
        raise RemoteError(f"{path}: expected JSON as an answer, found none") from None
    if not isinstance(value, dict | list):
        raise RemoteError(f"{path}: expected an object or a list, found something else")
    return value
