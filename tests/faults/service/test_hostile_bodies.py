"""Bodies and parameters that a fuzzer makes of the interface's own description.

``CROSSAN_FAULTS=full`` tries 5,000 of them.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.generation import GenerationMode
from starlette.testclient import TestClient

from crossan.train.service.web.app import build_app, guarded
from crossan.train.service.web.callers import Identity
from crossan.train.service.web.roles import Role
from crossan.train.service.web.tokens import Tokens
from support.service import SPEC, small_service

IS_FULL = os.environ.get("CROSSAN_FAULTS") == "full"
TOTAL = 5000 if IS_FULL else 100
TOKEN = "a" * 40
DOCUMENT = json.loads((Path(__file__).parents[3] / "docs" / "openapi.json").read_text())
STREAMS = {"/v1/events", "/v1/runs/{run_id}/events"}
"""Answer for as long as the client likes."""
AWAY = {"/v1/recommend"}
"""Answers 503 while no model is in production."""
BASE = "http://localhost"
OPERATIONS = sorted(
    (path, method)
    for path, methods in DOCUMENT["paths"].items()
    for method in methods
    if path not in STREAMS
)
EACH = max(1, TOTAL // len(OPERATIONS))
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
FUZZED = settings(
    max_examples=EACH,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    service = small_service(
        tmp_path_factory.mktemp("hostile"),
        http={"requests_per_second": 1e9, "burst": 10**9},
    )
    service.start()
    app = build_app(service)
    tokens = Tokens([(TOKEN, Identity("fuzzer", Role.ADMIN))])
    guard = guarded(app, service, tokens, lambda *told: None)
    yield TestClient(
        guard,
        base_url=BASE,
        headers={"authorization": f"Bearer {TOKEN}"},
        raise_server_exceptions=False,
        follow_redirects=False,
    )
    service.stop()


def require_answered(answer, path, what):
    """Require that the server understood or refused, in our shape and with its place."""
    may_be_away = answer.status_code == 503 and path in AWAY
    assert answer.status_code < 500 or may_be_away, (path, what, answer.text)
    if answer.status_code >= 400:
        error = answer.json()["error"]
        assert error["message"], (path, what)
        assert "Traceback" not in answer.text
        if answer.status_code == 422:
            # The place: a field, or the part of the request that the message begins with.
            assert error.get("field") or ":" in error["message"], (path, what, error)


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_what_a_fuzzer_makes_of_each_operation_never_breaks_the_server(client, path, method):
    operation = SCHEMA[path][method.upper()]
    modes = [GenerationMode.POSITIVE]
    if "parameters" in operation.definition.raw or "requestBody" in operation.definition.raw:
        modes.append(GenerationMode.NEGATIVE)
    sent = []

    @FUZZED
    @given(st.one_of([operation.as_strategy(generation_mode=mode) for mode in modes]))
    def send(case):
        case.headers = {
            name: value
            for name, value in (case.headers or {}).items()
            if name.lower() not in {"authorization", "host", "origin", "cookie"}
        }
        case.cookies = {}
        try:
            request = requests.Request(**case.as_transport_kwargs(base_url=BASE)).prepare()
            answer = client.request(
                request.method, request.url, headers=dict(request.headers), content=request.body
            )
        except (ValueError, TypeError):
            return  # no client could send it
        sent.append(answer.status_code)
        require_answered(answer, path, (request.url, request.body))

    send()

    assert len(sent) > EACH // 2
    print(path, method, sorted(Counter(sent).items()))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from([*SPEC, "seed", "label", "x", "init"]) | st.text(), inner)
    ),
    max_leaves=8,
)


@settings(FUZZED, max_examples=TOTAL)
@given(
    body=st.binary(max_size=300)
    | JSON.map(lambda value: json.dumps(value).encode(errors="surrogatepass"))
    | st.fixed_dictionaries({}, optional=dict.fromkeys([*SPEC, "seed", "label"], JSON)).map(
        lambda changes: json.dumps({**SPEC, **changes}).encode(errors="surrogatepass")
    )
)
def test_no_bytes_break_the_server(client, body):
    answer = client.post("/v1/runs", content=body, headers={"content-type": "application/json"})

    require_answered(answer, "/v1/runs", body)
    assert answer.status_code in {201, 422, 413}
