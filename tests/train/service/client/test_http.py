"""What the client makes of answers, of silence, and of servers that are none of ours."""

import json
import socket

import pytest

from crossan.train.service.client.runs import app
from support.client import invoke

JSON = {"Content-Type": "application/json"}
RUNS = (200, JSON, b'{"runs": [], "before": null}')


def refusal(status, message="no", remedy="do so", **headers):
    return (
        status,
        JSON | headers,
        json.dumps({"error": {"message": message, "remedy": remedy}}).encode(),
    )


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, 2),
        (403, 2),
        (404, 2),
        (413, 2),
        (421, 2),
        (422, 2),
        (409, 7),
        (500, 8),
        (502, 8),
        (507, 8),
    ],
)
def test_each_refusal_has_its_exit_code_and_its_remedy(told_server, status, code):
    told = told_server(refusal(status))
    result = invoke(app, "cancel", "1", *told.options)
    assert (result.code, result.said) == (code, "no\n  do so")
    assert len(told.requests) == 1


def test_an_unknown_token_is_said_without_it(told_server):
    told = told_server(refusal(401))
    result = invoke(app, "ls", *told.options)
    assert result.code == 2
    assert "does not know this token" in result.said
    assert "t" * 32 not in result.said


def test_the_token_goes_in_a_header_and_to_this_server_alone(told_server):
    elsewhere = told_server(RUNS)
    told = told_server((302, {"Location": f"{elsewhere.url}/v1/runs"}, b""))
    result = invoke(app, "ls", *told.options)
    assert result.code == 8
    assert "status 302" in result.said
    assert elsewhere.requests == []
    _, path, headers, _ = told.requests[0]
    assert headers["Authorization"] == f"Bearer {'t' * 32}"
    assert "t" * 32 not in path


def test_a_proxy_is_not_asked_for_what_is_on_this_machine(told_server, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert invoke(app, "ls", *told_server(RUNS).options).code == 0


def test_a_server_that_does_not_answer_is_exit_code_8(told_server, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        result = invoke(app, "ls", "--server", address, "--token-file", told_server(RUNS).token)
    assert result.code == 8
    assert result.said.endswith("\n  crossan serve --data FOLDER")


@pytest.mark.parametrize(
    "answer",
    [(200, JSON, b"<html>"), (200, JSON | {"Content-Length": "90"}, b'{"runs"'), (404, {}, b"<html>not found"), (502, JSON, b"[]"), None],
    ids=["no JSON", "cut off", "another server", "a proxy's", "closed"],
)  # fmt: skip
def test_an_answer_that_is_none_of_ours_is_exit_code_8(told_server, answer):
    assert invoke(app, "ls", *told_server(answer).options).code == 8


def test_what_may_be_repeated_is_sent_again_and_nothing_else(told_server):
    told = told_server(None, RUNS)
    assert invoke(app, "ls", *told.options).code == 0
    told = told_server(None, RUNS)
    assert invoke(app, "cancel", "1", *told.options).code == 8
    assert len(told.requests) == 1
    run = json.dumps({"id": 7}).encode()
    told = told_server(None, (201, JSON, run))
    assert invoke(app, "submit", "--dataset", "shop", *told.options, "--json").json == {"id": 7}
    keys = {headers["Idempotency-Key"] for _, _, headers, _ in told.requests}
    assert (len(told.requests), len(keys)) == (2, 1)


def test_a_server_that_asks_to_come_later_is_asked_later(told_server):
    busy = refusal(429, "too many requests", None, **{"Retry-After": "0"})
    told = told_server(busy, busy, RUNS)
    assert invoke(app, "ls", *told.options).code == 0
    assert len(told.requests) == 3
    told = told_server(busy)
    assert invoke(app, "ls", *told.options).code == 8
    assert len(told.requests) == 4
