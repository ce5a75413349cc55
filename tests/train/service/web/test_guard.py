"""The outermost layer, around an application that would answer anything."""

import asyncio
from contextlib import ExitStack

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from crossan.train.service.web.access import Access
from crossan.train.service.web.answers import RefusedError
from crossan.train.service.web.bodies import BodyLimits, BodyRoom
from crossan.train.service.web.callers import Identity
from crossan.train.service.web.guard import Guard
from crossan.train.service.web.hosts import AllowedHosts
from crossan.train.service.web.rates import Rates
from crossan.train.service.web.roles import Role, requires
from crossan.train.service.web.sessions import SESSION_SECONDS, Sessions
from crossan.train.service.web.table import RouteTable
from crossan.train.service.web.tokens import Tokens

TOKENS = {role: f"{role}-{'x' * 32}" for role in Role}
BEARER = {role: {"authorization": f"Bearer {token}"} for role, token in TOKENS.items()}
FORM = {"content-type": "application/x-www-form-urlencoded"}
HTML = {"accept": "text/html,*/*"}
LIMITS = BodyLimits(100, 5.0)
SECURITY = {
    "content-security-policy",
    "x-content-type-options",
    "x-frame-options",
    "referrer-policy",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
    "cache-control",
}


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def answering(role):
    async def answer(request):
        body = await request.body()
        identity = request.state.identity
        return PlainTextResponse(f"{identity.name} {len(body)}", headers={"server": "x"})

    return answer if role is None else requires(role)(answer)


async def failing(request):
    raise RuntimeError("a secret of the server")


class Door:
    """A guard around some routes, with what it told of its answers in ``seen``."""

    def __init__(self, burst=1000, limits=LIMITS):
        routes = [
            Route("/open", answering(None), methods=["GET"]),
            Route("/read/{name}", answering(Role.READ), methods=["GET"]),
            Route("/v1/things", answering(Role.READ), methods=["GET"]),
            Route("/v1/things", answering(Role.SUBMIT), methods=["POST"]),
            Route("/admin", answering(Role.ADMIN), methods=["POST"]),
            Route("/fails", requires(Role.READ)(failing)),
            Mount("/mounted", PlainTextResponse("mounted")),
        ]
        app = Starlette(routes=routes)
        self.seen, self.clock = [], Clock()
        access = Access(
            AllowedHosts(["crossan.example.org"]),
            Tokens((TOKENS[role], Identity(role.value, role)) for role in Role),
            Sessions(self.clock),
            Rates(1.0, burst, self.clock),
        )
        table = RouteTable(app.routes)
        self.guard = Guard(app, access, table, limits, lambda *told: self.seen.append(told))

    def client(self, base_url="http://localhost:8642"):
        return TestClient(
            self.guard, base_url=base_url, raise_server_exceptions=False, follow_redirects=False
        )

    def logged_in(self, role=Role.SUBMIT):
        client = self.client()
        answer = client.post("/login", content=f"token={TOKENS[role]}", headers=FORM)
        assert answer.status_code == 303
        return client


@pytest.fixture
def door():
    return Door()


def test_a_token_passes_and_the_application_knows_who_it_is(door):
    answer = door.client().get("/read/x", headers=BEARER[Role.SUBMIT])

    assert (answer.status_code, answer.text) == (200, "submit 0")


@pytest.mark.parametrize(
    "path", ["/read/x", "/v1/things", "/nowhere", "/static/app.js", "/mounted", "//"]
)
@pytest.mark.parametrize(
    "method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "MADE-UP"]
)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": "Bearer wrong"},
        {"authorization": f"Basic {TOKENS[Role.ADMIN]}"},
        {"authorization": TOKENS[Role.ADMIN]},
        {"cookie": "crossan_session=" + "x" * 43},
        {"cookie": f"crossan_session={TOKENS[Role.ADMIN]}"},
        {"x-forwarded-user": "admin"},
    ],
)  # fmt: skip
def test_without_a_token_nothing_passes(door, method, path, headers):
    answer = door.client().request(method, path, headers=headers)

    # A change that brings a cookie must say which page it comes from, before anything else.
    is_change_by_cookie = "cookie" in headers and method not in {"GET", "HEAD", "OPTIONS"}
    assert answer.status_code == (403 if is_change_by_cookie else 401)
    assert set(answer.headers) >= SECURITY


@pytest.mark.parametrize("host", ["evil.example.org", "localhost.evil.org", "127.0.0.1.evil.org"])
def test_another_hosts_name_is_refused_with_a_token_too(door, host):
    answer = door.client().get("/read/x", headers={**BEARER[Role.ADMIN], "host": host})

    assert answer.status_code == 421
    assert set(answer.headers) >= SECURITY


def test_a_request_without_a_host_is_refused(door):
    async def ask():
        sent = []

        async def send(message):
            sent.append(message)

        scope = {
            "type": "http", "method": "GET", "path": "/read/x", "query_string": b"", "headers": [
                (b"authorization", BEARER[Role.ADMIN]["authorization"].encode())
            ],
        }  # fmt: skip
        await door.guard(scope, None, send)
        return sent[0]["status"]

    assert asyncio.run(ask()) == 421


@pytest.mark.parametrize("name", ["crossan.example.org", "CROSSAN.example.org:1234", "127.0.0.1"])
def test_the_names_of_this_server_pass(door, name):
    answer = door.client().get("/read/x", headers={**BEARER[Role.READ], "host": name})

    assert answer.status_code == 200


@pytest.mark.parametrize(
    "origin", ["null", "http://evil.org", "http://localhost:3000", "http://localhost"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_another_sites_page_is_refused_whatever_it_sends(door, method, origin):
    headers = {**BEARER[Role.ADMIN], "origin": origin}

    answer = door.client().request(method, "/v1/things", headers=headers)

    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


def test_a_page_of_ours_passes(door):
    headers = {**BEARER[Role.READ], "origin": "http://localhost:8642"}

    assert door.client().get("/read/x", headers=headers).status_code == 200


def test_a_websocket_is_refused(door):
    headers = BEARER[Role.ADMIN]
    with pytest.raises(WebSocketDisconnect) as refused:
        door.client().websocket_connect("/read/x", headers=headers).__enter__()

    assert refused.value.code == 1008


@pytest.mark.parametrize(
    ("role", "method", "path", "status"),
    [
        ("read", "GET", "/v1/things", 200),
        ("read", "POST", "/v1/things", 403),
        ("submit", "POST", "/v1/things", 200),
        ("submit", "POST", "/admin", 403),
        ("admin", "POST", "/admin", 200),
        ("admin", "POST", "/v1/things", 200),
        ("admin", "GET", "/open", 403),
        ("admin", "GET", "/nowhere", 404),
        ("admin", "GET", "/mounted", 404),
        ("admin", "GET", "/mounted/x", 404),
        ("admin", "DELETE", "/v1/things", 405),
        ("read", "PUT", "/admin", 405),
        ("read", "HEAD", "/v1/things", 200),
        ("admin", "GET", "/read/x/y", 404),
        ("admin", "GET", "/read/", 404),
        ("admin", "GET", "/v1/things/", 404),
    ],
)
def test_each_route_passes_its_role_and_those_above(door, role, method, path, status):
    answer = door.client().request(method, path, headers=BEARER[Role(role)])

    assert answer.status_code == status
    if status == 405:
        assert "POST" in answer.headers["allow"]


def test_a_header_that_decides_is_refused_when_it_comes_twice(door):
    for name, value in (("authorization", "Bearer x"), ("origin", "http://localhost:8642")):
        headers = [*BEARER[Role.READ].items(), ("origin", "http://localhost:8642"), (name, value)]
        answer = door.client().get("/read/x", headers=headers)
        assert answer.status_code == 400
        assert name in answer.json()["error"]["message"]


def test_a_body_is_read_within_its_bounds(door):
    headers = BEARER[Role.SUBMIT] | {"content-type": "application/json"}
    client = door.client()

    assert client.post("/v1/things", content=b"1" * 18, headers=headers).text == "submit 18"
    too_large = client.post("/v1/things", content=b'"' + b"x" * 99 + b'"', headers=headers)
    assert too_large.status_code == 413
    assert too_large.headers["connection"] == "close"
    # Without Content-Length.
    parts = (b"x" * 60 for _ in range(3))
    assert client.post("/v1/things", content=parts, headers=headers).status_code == 413


def scope_of_post(name, value):
    """Return the scope of a request with a body that a header announces."""
    return {
        "type": "http",
        "method": "POST",
        "path": "/v1/things",
        "query_string": b"",
        "headers": [
            (b"host", b"localhost"),
            (b"authorization", BEARER[Role.SUBMIT]["authorization"].encode()),
            (name, value),
            (b"content-type", b"application/json"),
        ],
    }


def test_a_body_that_does_not_come_in_time_is_given_up():
    door = Door(limits=BodyLimits(100, 0.05))

    async def ask():
        sent = []

        async def send(message):
            sent.append(message)

        parts = iter([{"type": "http.request", "body": b"1", "more_body": True}])

        async def receive():
            try:
                return next(parts)
            except StopIteration:
                await asyncio.Event().wait()

        await door.guard(scope_of_post(b"transfer-encoding", b"chunked"), receive, send)
        return sent[0]

    start = asyncio.run(ask())
    assert start["status"] == 408
    assert (b"connection", b"close") in start["headers"]


def test_a_body_of_another_type_is_refused(door):
    client = door.client()
    for path, kind in (
        ("/v1/things", "text/plain"),
        ("/admin", "application/json"),
        ("/v1/things", ""),
    ):
        headers = BEARER[Role.ADMIN] | {"content-type": kind}
        answer = client.post(path, content=b"{}", headers=headers)
        assert answer.status_code == 415, (path, kind)


def test_json_that_is_not_strict_is_refused_before_the_application(door):
    headers = BEARER[Role.SUBMIT] | {"content-type": "application/json; charset=utf-8"}

    answer = door.client().post("/v1/things", content=b'{"a": NaN}', headers=headers)

    assert answer.status_code == 422
    assert answer.json()["error"]["field"] == "body"


def test_a_refusal_ends_the_connection_with_what_waits_behind_it(door):
    client = door.client()

    assert client.get("/read/x").headers["connection"] == "close"
    assert "connection" not in client.get("/read/x", headers=BEARER[Role.READ]).headers


def test_large_bodies_share_room_and_small_ones_always_find_some():
    room = BodyRoom(50_000)
    with ExitStack() as held:
        first, second = (held.enter_context(room.part()) for _ in range(2))
        first(10_000)
        first(60_000)
        first(60_000)  # the same bytes
        second(16_384)
        with pytest.raises(RefusedError) as refused:
            second(30_000)
        assert refused.value.answer.status == 503
    with room.part() as grow:
        grow(66_384)


def test_a_body_keeps_its_room_until_its_request_is_answered():
    async def ask():
        door = Door(limits=BodyLimits(100_000, 5.0))
        door.guard._room = BodyRoom(50_000)
        release, is_inside = asyncio.Event(), asyncio.Event()

        async def app(scope, receive, send):
            is_inside.set()
            await release.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        door.guard._app = app

        async def post():
            sent = []

            async def send(message):
                sent.append(message)

            async def receive():
                return {"type": "http.request", "body": b"1" + b" " * 59_999}

            await door.guard(scope_of_post(b"content-length", b"60000"), receive, send)
            return sent[0]["status"]

        first = asyncio.create_task(post())
        await is_inside.wait()
        second = await post()
        release.set()
        return [await first, second, await post()]

    assert asyncio.run(ask()) == [200, 503, 200]


def test_nobody_reads_a_body_before_its_sender_is_known(door):
    async def ask():
        sent = []

        async def send(message):
            sent.append(message)

        async def receive():
            raise AssertionError("the body was read")

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/things",
            "query_string": b"",
            "headers": [(b"host", b"localhost"), (b"content-length", b"50")],
        }
        await door.guard(scope, receive, send)
        return sent[0]

    start = asyncio.run(ask())
    assert start["status"] == 401
    assert (b"connection", b"close") in start["headers"]


def test_too_many_requests_of_one_token_wait_and_those_of_another_do_not():
    door = Door(burst=2)
    client = door.client()
    statuses = [client.get("/read/x", headers=BEARER[Role.READ]).status_code for _ in range(2)]
    refused = client.get("/read/x", headers=BEARER[Role.READ])

    assert statuses == [200, 200]
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert client.get("/read/x", headers=BEARER[Role.ADMIN]).status_code == 200
    door.clock.now += 1
    assert client.get("/read/x", headers=BEARER[Role.READ]).status_code == 200


def test_every_answer_has_the_headers_that_bind_a_browser(door):
    client = door.client()
    answers = [
        client.get("/read/x", headers=BEARER[Role.READ]),
        client.get("/nowhere", headers=BEARER[Role.READ]),
        client.get("/fails", headers=BEARER[Role.READ]),
        client.get("/read/x", headers=HTML),
    ]

    assert [answer.status_code for answer in answers] == [200, 404, 500, 401]
    for answer in answers:
        assert set(answer.headers) >= SECURITY
        assert "script-src 'self'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert "server" not in answer.headers


def test_an_unexpected_error_tells_the_client_nothing(door):
    answer = door.client().get("/fails", headers=BEARER[Role.READ])

    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text


def test_answers_are_told_by_the_template_of_their_route(door):
    client = door.client()
    client.get("/read/one", headers=BEARER[Role.READ])
    client.get("/read/two", headers=BEARER[Role.READ])
    client.get("/made-up/by/a/client", headers=BEARER[Role.READ])

    told = [(route, method, status) for route, method, status, _ in door.seen]
    assert told == [
        ("/read/{name}", "GET", 200),
        ("/read/{name}", "GET", 200),
        ("none", "GET", 404),
    ]


def test_a_browser_without_a_session_gets_the_form(door):
    answer = door.client().get("/read/x?a=1", headers=HTML)

    assert answer.status_code == 401
    assert answer.headers["content-type"].startswith("text/html")
    assert '<form method="post" action="/login">' in answer.text
    assert 'value="/read/x?a=1"' in answer.text


def test_the_form_shows_no_address_of_another_site_and_no_markup(door):
    for path in ("//evil.org/", "/\\evil.org", '/"><script>alert(1)</script>'):
        page = door.client("http://localhost").get(f"http://localhost{path}", headers=HTML)
        assert page.status_code == 401
        assert "<script" not in page.text
        assert 'value="//' not in page.text
        assert 'value="/\\' not in page.text


def test_logging_in_gives_a_session_that_passes_until_its_end(door):
    client = door.client()
    answer = client.post(
        "/login", content=f"token={TOKENS[Role.SUBMIT]}&next=/read/x", headers=FORM
    )

    assert (answer.status_code, answer.headers["location"]) == (303, "/read/x")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert TOKENS[Role.SUBMIT] not in cookie
    assert client.get("/read/x").text == "submit 0"
    door.clock.now += SESSION_SECONDS
    assert client.get("/read/x").status_code == 401


@pytest.mark.parametrize(
    "target", ["//evil.org", "https://evil.org", "/\\evil.org", "\r\nset-cookie: a=b", "/login", ""]
)
def test_logging_in_leads_to_no_other_site(door, target):
    from urllib.parse import urlencode

    body = urlencode({"token": TOKENS[Role.READ], "next": target})
    answer = door.client().post("/login", content=body, headers=FORM)

    assert (answer.status_code, answer.headers["location"]) == (303, "/")


@pytest.mark.parametrize(
    "body", ["", "token=", "token=wrong", "token=%ff%fe", "x=1", "token=a&" * 200]
)
def test_a_wrong_token_gets_the_form_again(door, body):
    answer = door.client().post("/login", content=body, headers=FORM)

    assert answer.status_code in {401, 422}
    assert "set-cookie" not in answer.headers


def test_a_form_of_another_site_cannot_log_in(door):
    headers = FORM | {"origin": "http://evil.org"}

    answer = door.client().post("/login", content=f"token={TOKENS[Role.READ]}", headers=headers)

    assert answer.status_code == 403


def test_a_cookie_changes_nothing_without_the_page_it_comes_from(door):
    client = door.logged_in()

    assert client.post("/v1/things").status_code == 403
    ours = client.post("/v1/things", headers={"origin": "http://localhost:8642"})
    assert ours.status_code == 200
    foreign = client.post("/v1/things", headers={"origin": "http://localhost:8643"})
    assert foreign.status_code == 403


def test_a_cookie_and_a_wrong_token_are_refused(door):
    client = door.logged_in()

    assert client.get("/read/x", headers={"authorization": "Bearer wrong"}).status_code == 401


def test_logging_out_ends_the_session_for_every_browser_that_has_it(door):
    client = door.logged_in()
    cookie = {"cookie": "; ".join(f"{name}={value}" for name, value in client.cookies.items())}

    answer = client.post("/logout", headers={"origin": "http://localhost:8642"})

    assert answer.status_code == 303
    assert "Max-Age=0" in answer.headers["set-cookie"]
    assert door.client().get("/read/x", headers=cookie).status_code == 401


def test_the_form_is_not_shown_to_who_is_logged_in(door):
    answer = door.logged_in().get("/login", headers=HTML)

    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert door.client().get("/login", headers=HTML).status_code == 401


def test_many_requests_of_one_token_leave_room_for_those_of_another():
    async def ask():
        release, begun = asyncio.Event(), []

        async def app(scope, receive, send):
            name = scope["state"]["identity"].name
            begun.append(name)
            if name == "submit":
                await release.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        guard = Door().guard
        guard._app = app

        async def request(role):
            async def send(message):
                pass

            token = BEARER[role]["authorization"].encode()
            headers = [(b"host", b"localhost"), (b"authorization", token)]
            scope = {
                "type": "http", "method": "GET", "path": "/read/x", "query_string": b"",
                "headers": headers,
            }  # fmt: skip
            await guard(scope, None, send)

        many = [asyncio.create_task(request(Role.SUBMIT)) for _ in range(40)]
        await asyncio.wait_for(request(Role.READ), 60)
        in_progress = begun.count("submit")
        release.set()
        await asyncio.gather(*many)
        return in_progress, begun.count("submit")

    in_progress, answered = asyncio.run(ask())

    assert in_progress == 2
    assert answered == 40


def test_a_route_says_how_many_requests_of_one_token_it_takes(make_door):
    turns = {
        (entry.template, *entry.methods): entry.turns
        for entry in RouteTable(make_door().app.routes)
    }

    assert turns["/v1/runs", "GET"] == 2
    assert turns["/v1/runs", "POST"] == 64
    assert turns["/v1/recommend", "POST"] == 8
