"""Sessions of browsers: who logged in, by a random id that a cookie holds."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from crossan.train.service.web.callers import Identity

__all__ = ["COOKIE", "SESSION_SECONDS", "Sessions", "cookie_header"]

COOKIE = "crossan_session"
SESSION_SECONDS = 12 * 3600
_MOST = 1000
"""Sessions at once; one more ends the oldest."""


class _Session(NamedTuple):
    identity: Identity
    ends: float


class Sessions:
    """The sessions of one server, lost when it ends.

    Parameters
    ----------
    clock
        Returns seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._sessions: OrderedDict[bytes, _Session] = OrderedDict()
        self._lock = threading.Lock()

    def begin(self, identity: Identity) -> str:
        """Begin a session and return its id."""
        session_id = secrets.token_urlsafe(32)
        with self._lock:
            self._sessions[_key(session_id.encode())] = _Session(
                identity, self._clock() + SESSION_SECONDS
            )
            while len(self._sessions) > _MOST:
                self._sessions.popitem(last=False)
        return session_id

    def identity_of(self, session_id: bytes) -> Identity | None:
        """Return who a session belongs to, None where it is unknown or has ended."""
        with self._lock:
            session = self._sessions.get(_key(session_id))
            if session is None:
                return None
            if session.ends <= self._clock():
                del self._sessions[_key(session_id)]
                return None
            return session.identity

    def end(self, session_id: bytes) -> None:
        """End a session, where there is one of this id."""
        with self._lock:
            self._sessions.pop(_key(session_id), None)


def cookie_header(session_id: str, *, is_secure: bool) -> str:
    """Return the ``Set-Cookie`` header of a session; an empty id takes the cookie away."""
    seconds = SESSION_SECONDS if session_id else 0
    secure = "; Secure" if is_secure else ""
    return f"{COOKIE}={session_id}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}"


def _key(session_id: bytes) -> bytes:
    # A lookup by the hash tells nothing of the id by the time it takes.
    return hashlib.sha256(session_id).digest()
