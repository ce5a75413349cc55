"""A service behind its guard in this process."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from anyio.from_thread import start_blocking_portal
from starlette.testclient import TestClient

from crossan.train.service.web.app import build_app, guarded
from crossan.train.service.web.callers import Identity
from crossan.train.service.web.roles import Role
from crossan.train.service.web.tokens import Tokens
from support.queued import kill_leftovers
from support.service import small_service

TOKENS = {role.value: f"{role.value}-{'t' * 32}" for role in Role}


@pytest.fixture(scope="session")
def portal():
    """Return the one event loop in which applications answer all clients, as in a server.

    By itself a client makes a loop for each request. What a request waits for is then told to a
    loop that does not hear it: two at once have hung.
    """
    with start_blocking_portal() as portal:
        yield portal


def client_of(guard, portal, role=None, **headers):
    """Return a client of an ASGI application with the token of a role, none for None."""
    given = {} if role is None else {"authorization": f"Bearer {TOKENS[role]}"}
    client = TestClient(
        guard,
        base_url="http://localhost",
        headers={**given, **headers},
        raise_server_exceptions=False,
        follow_redirects=False,
    )
    client.portal = portal
    return client


def open_door(folder, portal, **settings):
    """Start a service; return it with its guard and clients of it. The caller stops it."""
    service = small_service(folder, **settings)
    service.start()
    app = build_app(service)
    tokens = Tokens((TOKENS[role], Identity(role.value, role)) for role in Role)
    guard = guarded(app, service, tokens, lambda *answer: None)
    return SimpleNamespace(
        service=service,
        app=app,
        guard=guard,
        client=lambda role=None, **headers: client_of(guard, portal, role, **headers),
    )


@pytest.fixture
def make_door(tmp_path, portal):
    """Return a function that starts a service with some settings, and returns it with clients."""
    doors = []

    def make(**settings):
        doors.append(open_door(tmp_path / f"service-{len(doors)}", portal, **settings))
        return doors[-1]

    yield make
    for door in doors:
        door.service.stop()
    kill_leftovers(tmp_path)


@pytest.fixture(scope="module")
def shared_door(tmp_path_factory, portal):
    """Return a service that the tests of one file share: they change nothing of it."""
    folder = tmp_path_factory.mktemp("shared")
    door = open_door(folder, portal, http={"burst": 10**6})
    yield door
    door.service.stop()
    kill_leftovers(folder)


@pytest.fixture
def door(make_door):
    """Return a service that runs, with its guard and clients of it."""
    return make_door()
