"""Files under an https address, read with the standard library.

Nothing has to be installed for it. A reply need not say how long it is, which object
store libraries insist on; how much of it is taken is bounded all the same.
"""

from __future__ import annotations

import http.client
import ssl
import time
import urllib.error
import urllib.request
from typing import IO, Any
from urllib.parse import urlsplit

from crossan.cache_schema.errors import RemoteError, StoreIntegrityError, UsageError

__all__ = ["LOOPBACK", "WebFolder", "fetch"]

LOOPBACK = {"localhost", "127.0.0.1", "::1"}
"""Hosts that are this machine: http:// is allowed to them alone."""
_TIMEOUT_S = 60.0
"""For each answer of the socket, and for the first bytes of a body to gain some speed."""
_LOWEST_RATE = 16 * 1024
"""Bytes a second. A server that goes on more slowly is given up."""
_MOST_REDIRECTS = 5
_BLOCK_BYTES = 2**20
_GONE = {404, 410}
_FORBIDDEN = {401, 403, 407}
_PASSING = {408, 425, 429}
"""Refusals that another try may change, as may those from 500 on."""


class WebFolder:
    """The files under one address, for any number of threads.

    Parameters
    ----------
    url
        ``https://HOST/PATH``, or ``http://`` of this machine.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def get(self, key: str, largest: int) -> bytes | None:
        """Return a file's bytes, None where the server knows no such file.

        Raises
        ------
        OSError
            The connection or the server failed. Another try may succeed.
        RemoteError
            The server refuses, answers too slowly, or leads elsewhere again and again.
        StoreIntegrityError
            There is more than ``largest`` bytes.
        """
        return fetch(f"{self._url}/{key}", largest)


def fetch(url: str, largest: int, shown_as: str | None = None) -> bytes | None:
    """Return what lies at an address, None where nothing does.

    Parameters
    ----------
    url
        The address.
    largest
        Bytes that are taken at most.
    shown_as
        How errors name it, where the address itself holds a signature.

    Raises
    ------
    OSError, RemoteError, StoreIntegrityError
        As `WebFolder.get`.
    """
    shown = shown_as or url
    # identity: what comes is what is compared with digests, and no small reply can unpack to more.
    fields = {"Accept-Encoding": "identity", "User-Agent": "crossan"}
    try:
        request = urllib.request.Request(url, headers=fields)  # noqa: S310 - checked when opened
        with _opener(url).open(request, timeout=_TIMEOUT_S) as reply:
            return _body(reply, largest, shown)
    except urllib.error.HTTPError as error:
        with error:
            _require_gone(error, shown)
        return None
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise RemoteError(f"{shown}: cannot trust the server: {error.reason}") from error
        raise ConnectionError(str(error.reason)) from error
    except http.client.InvalidURL as error:
        raise UsageError(f"{shown}: expected an address: {error}") from error
    except http.client.HTTPException as error:  # no OSError, though it is about the connection
        raise ConnectionError(f"{type(error).__name__}: {error}") from error


def _body(reply: Any, largest: int, shown: str) -> bytes:  # noqa: ANN401 - http.client's, untyped
    encoding = reply.headers.get("Content-Encoding", "identity")
    if reply.status != 200 or encoding != "identity":
        raise RemoteError(
            f"{shown}: expected the file itself with status 200, "
            f"found status {reply.status} and the encoding {encoding!r:.40}"
        )
    announced: int | None = reply.length
    if announced is not None and announced > largest:
        raise _too_large(shown, largest, announced)
    data, begun = bytearray(), time.monotonic()
    while block := reply.read1(_BLOCK_BYTES):
        data += block
        if len(data) > largest:
            raise _too_large(shown, largest, len(data))
        seconds = time.monotonic() - begun
        if seconds > _TIMEOUT_S + len(data) / _LOWEST_RATE:
            raise RemoteError(
                f"{shown}: expected at least {_LOWEST_RATE:,} bytes a second, "
                f"found {len(data):,} bytes in {seconds:.0f} s"
            )
    # A connection that ended early counts as one that failed, and is tried again.
    if announced is not None and len(data) != announced:
        raise ConnectionError(f"expected {announced:,} bytes, {len(data):,} arrived")
    return bytes(data)


def _require_gone(error: urllib.error.HTTPError, shown: str) -> None:
    if error.code in _GONE:
        return
    if error.code >= 500 or error.code in _PASSING:
        raise ConnectionError(f"the server answers {error.code} {error.reason}") from error
    remedy = "Check the address, and whether it may be read" if error.code in _FORBIDDEN else None
    raise RemoteError(
        f"{shown}: the server answers {error.code} {error.reason}", remedy=remedy
    ) from error


def _too_large(shown: str, largest: int, size: int) -> StoreIntegrityError:
    return StoreIntegrityError(f"{shown}: expected at most {largest:,} bytes, found {size:,}")


def _opener(url: str) -> urllib.request.OpenerDirector:
    # A proxy of the environment is for other machines.
    proxies = [urllib.request.ProxyHandler({})] if urlsplit(url).hostname in LOOPBACK else []
    return urllib.request.build_opener(_Redirects(), *proxies)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a few redirects, and none that leaves TLS."""

    max_redirections = _MOST_REDIRECTS

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        parts = urlsplit(newurl)
        if parts.scheme != "https" and not (
            parts.scheme == "http"
            and parts.hostname in LOOPBACK
            and urlsplit(req.full_url).hostname in LOOPBACK
        ):
            raise RemoteError(
                f"{req.full_url}: expected to stay on https://, was sent to {newurl!r:.200}"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)
