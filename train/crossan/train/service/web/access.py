"""Who a request is from, and whether it may pass at all."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import NoReturn

from crossan.train.service.web.answers import Answer, RefusedError, json_answer
from crossan.train.service.web.callers import Identity
from crossan.train.service.web.errors import error_body
from crossan.train.service.web.heads import SAFE_METHODS, Head
from crossan.train.service.web.hosts import AllowedHosts, is_same_origin
from crossan.train.service.web.login import form_fields, login_answer, safe_target
from crossan.train.service.web.rates import Rates
from crossan.train.service.web.sessions import Sessions, cookie_header
from crossan.train.service.web.tokens import Tokens

__all__ = ["LOGIN_PATH", "LOGOUT_PATH", "Access"]

LOGIN_PATH = "/login"
LOGOUT_PATH = "/logout"

_LOG = logging.getLogger("crossan.service.http")


@dataclass(frozen=True, slots=True)
class Access:
    """What decides whether a request passes, before its route is looked at."""

    hosts: AllowedHosts
    tokens: Tokens
    sessions: Sessions
    rates: Rates

    def require_ours(self, head: Head) -> None:
        """Refuse a request that names another host, or that a page of another site sends.

        Raises
        ------
        RefusedError
            With status 421 or 403.
        """
        host = head.headers.get(b"host", b"")
        if not self.hosts.allows(host):
            _refuse(421, "host: this server has another name", "crossan serve --name HOST")
        origin = head.headers.get(b"origin")
        if origin is not None and not is_same_origin(origin, host):
            _refuse(403, "origin: a page of another site sent this request")
        by_cookie = head.bearer is None and head.session_id is not None
        if by_cookie and origin is None and head.method not in SAFE_METHODS:
            _refuse(403, "origin: expected this header with a cookie, found none")

    def identified(self, head: Head) -> Identity:
        """Return who a request is from, and count it.

        Raises
        ------
        RefusedError
            With status 401 where its token is missing or wrong, or 429 where there were too many.
        """
        identity = self.known(head)
        if identity is None:
            if head.wants_page and b"authorization" not in head.headers:
                raise RefusedError(login_answer(head.target))
            _refuse(
                401,
                "authorization: expected a token of this server",
                "Send the header Authorization: Bearer TOKEN",
                {"www-authenticate": 'Bearer realm="crossan"'},
            )
        seconds = self.rates.wait_seconds(identity.name)
        if seconds > 0:
            _refuse(
                429,
                f"token {identity.name}: too many requests",
                headers={"retry-after": str(math.ceil(seconds))},
            )
        return identity

    def known(self, head: Head) -> Identity | None:
        """Return who a request is from, None where its token is missing or wrong."""
        if b"authorization" in head.headers:
            return None if head.bearer is None else self.tokens.identity_of(head.bearer)
        session_id = head.session_id
        return None if session_id is None else self.sessions.identity_of(session_id)

    def log_in(self, body: bytes, *, is_secure: bool) -> Answer:
        """Answer the form: a session where its token is right, the form again where not.

        Raises
        ------
        ConfigError
            The body is no form.
        """
        fields = form_fields(body)
        target = safe_target(fields.get("next", "/"))
        # A browser may send what is no token at all.
        token = fields.get("token", "").strip().encode(errors="replace")
        identity = self.tokens.identity_of(token)
        if identity is None:
            _LOG.warning("log-in with a wrong token")
            return login_answer(target, "This is no token of this server.")
        _LOG.info("log-in", extra={"fields": {"caller": identity.name}})
        cookie = cookie_header(self.sessions.begin(identity), is_secure=is_secure)
        if target == LOGIN_PATH:
            target = "/"
        return _redirected(target, cookie)

    def log_out(self, head: Head, *, is_secure: bool) -> Answer:
        """End the session of a request and take its cookie away."""
        if head.session_id is not None:
            self.sessions.end(head.session_id)
        return _redirected("/", cookie_header("", is_secure=is_secure))


def _redirected(target: str, cookie: str) -> Answer:
    headers = {"location": target, "set-cookie": cookie}
    return Answer(303, b"", "text/plain; charset=utf-8", headers)


def _refuse(
    status: int,
    message: str,
    remedy: str | None = None,
    headers: dict[str, str] | None = None,
) -> NoReturn:
    raise RefusedError(json_answer(status, error_body(message, remedy), headers))
