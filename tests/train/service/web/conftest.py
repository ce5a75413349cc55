"""A service behind its guard in this process, and a server that the tests of this folder share."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from starlette.testclient import TestClient

from crossan.train.service.web.app import build_app, guarded
from crossan.train.service.web.callers import Identity
from crossan.train.service.web.roles import Role
from crossan.train.service.web.tokens import Tokens
from support.service import ServerProcess, small_service

TOKENS = {role.value: f"{role.value}-{'t' * 32}" for role in Role}


def client_of(guard, role=None, **headers):
    """Return a client of an ASGI application with the token of a role, none for None."""
    given = {} if role is None else {"authorization": f"Bearer {TOKENS[role]}"}
    return TestClient(
        guard,
        base_url="http://localhost",
        headers={**given, **headers},
        raise_server_exceptions=False,
        follow_redirects=False,
    )


@pytest.fixture
def make_door(tmp_path):
    """Return a function that starts a service with some settings, and returns it with its guard."""
    doors = []

    def make(**settings):
        service = small_service(tmp_path / f"service-{len(doors)}", **settings)
        service.start()
        seen = []
        app = build_app(service)
        tokens = Tokens((TOKENS[role], Identity(role.value, role)) for role in Role)
        guard = guarded(app, service, tokens, lambda *answer: seen.append(answer))
        door = SimpleNamespace(
            service=service,
            app=app,
            guard=guard,
            seen=seen,
            client=lambda role=None, **headers: client_of(guard, role, **headers),
        )
        doors.append(door)
        return door

    yield make
    for door in doors:
        door.service.stop()


@pytest.fixture
def door(make_door):
    """Return a service that runs, with its guard and clients of it."""
    return make_door()


@pytest.fixture(scope="package")
def server(tmp_path_factory):
    """Return a server process that the tests of this folder share."""
    process = ServerProcess(tmp_path_factory.mktemp("server")).kept()
    yield process
    assert process.stop() == 0, process.log.read_text()
