"""Every route that the application has, with every method: none lets pass what it must not."""

import asyncio

import httpx
import pytest

from crossan.train.service.web.roles import Role
from crossan.train.service.web.table import RouteTable

from .conftest import TOKENS

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "BREW"]
BESIDE = ["/", "/login", "/logout", "/static/live.js", "/v1/events", "/docs", "/openapi.json", "/x"]
"""Addresses that are tried though no route may have them."""


@pytest.fixture(scope="module")
def calls(shared_door):
    """Every address with every method, and the route where there is one."""
    entries = list(RouteTable(shared_door.app.routes))
    paths = {filled(entry.template) for entry in entries} | set(BESIDE)
    return [(method, path) for path in sorted(paths) for method in METHODS]


def answers_to(door, calls, **headers):
    """Make calls one after the other in one loop, and return each with its answer.

    A test client would begin a thread with a loop of its own for each, which takes ten times as
    long as the guard.
    """

    async def ask_all():
        transport = httpx.ASGITransport(door.guard, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return [
                (call, await client.request(*call, headers={"accept": "*/*", **headers}))
                for call in calls
            ]

    return asyncio.run(ask_all())


def filled(template):
    """Return an address of a route, each parameter being 1."""
    parts = [("1" if part.startswith("{") else part) for part in template.split("/")]
    return "/".join(parts)


def test_each_route_declares_its_role(shared_door):
    entries = list(RouteTable(shared_door.app.routes))

    assert len(entries) >= 10
    assert [entry.template for entry in entries if entry.role is None] == []
    assert len(entries) == len(shared_door.app.routes)


def test_what_changes_something_takes_more_than_reading(shared_door):
    asked = {"/v1/recommend"}
    """Posts what it asks about, and changes nothing."""
    entries = [one for one in RouteTable(shared_door.app.routes) if one.methods - {"GET", "HEAD"}]

    assert entries
    too_low = [
        one.template for one in entries if one.role is Role.READ and one.template not in asked
    ]
    assert too_low == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": "Bearer " + "x" * 43}, 401),
        ({"cookie": "crossan_session=" + "x" * 43, "origin": "http://localhost"}, 401),
        ({"origin": "http://evil.example.org"}, 403),
        ({"host": "evil.example.org"}, 421),
    ],
    ids=["no token", "wrong token", "wrong session", "foreign origin", "foreign host"],
)
@pytest.mark.parametrize("accept", ["*/*", "text/html", "text/event-stream"])
def test_nothing_passes_without_a_token_or_from_elsewhere(
    shared_door, calls, accept, headers, status
):
    for (method, path), answer in answers_to(shared_door, calls, accept=accept, **headers):
        # The form of the log-in is answered as a form, without a session.
        expected = 401 if (method, path, status) == ("POST", "/login", 401) else status
        assert answer.status_code == expected, (method, path)
        assert "set-cookie" not in answer.headers
        assert "default-src 'none'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("headers", [{"origin": "http://evil.org"}, {"host": "evil.org"}])
def test_a_token_of_an_admin_does_not_help_who_comes_from_elsewhere(shared_door, calls, headers):
    token = {"authorization": f"Bearer {TOKENS['admin']}"}
    for call, answer in answers_to(shared_door, calls, **token, **headers):
        assert answer.status_code in {403, 421}, call


def test_a_token_that_reads_changes_nothing(shared_door):
    client = shared_door.client("read")
    for entry in RouteTable(shared_door.app.routes):
        if entry.role is not Role.READ:
            for method in entry.methods - {"HEAD"}:
                answer = client.request(method, filled(entry.template))
                assert answer.status_code == 403, (method, entry.template)


def test_a_token_that_submits_is_no_admins(shared_door):
    client = shared_door.client("submit")
    for entry in RouteTable(shared_door.app.routes):
        if entry.role is Role.ADMIN:
            for method in entry.methods - {"HEAD"}:
                answer = client.request(method, filled(entry.template))
                assert answer.status_code == 403, (method, entry.template)
