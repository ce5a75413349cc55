"""Which names a server is called by, and from which pages browsers may call it."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["AllowedHosts", "is_same_origin"]

_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_AUTHORITY = re.compile(rb"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?")
_DEFAULT_PORTS = {b"http": b"80", b"https": b"443"}


class AllowedHosts:
    """The host names by which requests may call the server.

    A page of another site whose name was pointed at our address sends its own name, and is
    refused so.

    Parameters
    ----------
    names
        Beside those of the loopback.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = {name.lower().encode() for name in (*_LOOPBACK, *names)}

    def allows(self, host: bytes) -> bool:
        """Return whether a ``Host`` header names this server, with any port."""
        parts = _AUTHORITY.fullmatch(host)
        return parts is not None and parts["name"].lower() in self._names


def is_same_origin(origin: bytes, host: bytes) -> bool:
    """Return whether an ``Origin`` header is of a page of this server.

    Parameters
    ----------
    origin
        The header.
    host
        The ``Host`` header, which is allowed.
    """
    scheme, separator, authority = origin.partition(b"://")
    default = _DEFAULT_PORTS.get(scheme)
    if not separator or default is None:
        return False
    page = _name_and_port(authority, default)
    return page is not None and page == _name_and_port(host, default)


def _name_and_port(authority: bytes, default: bytes) -> tuple[bytes, bytes] | None:
    parts = _AUTHORITY.fullmatch(authority)
    return None if parts is None else (parts["name"].lower(), parts["port"] or default)
