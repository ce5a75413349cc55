"""Names that lead elsewhere, end early, or hold markup: none becomes a path, none becomes a page.

``CROSSAN_FAULTS=full`` tries 2,000 of them, under strace.
"""

from __future__ import annotations

import json
import os
import random
import re
import sys
from pathlib import Path

import httpx
import pytest

from support.processes import can_trace, traced
from support.service import SPEC, ServerProcess

IS_FULL = os.environ.get("CROSSAN_FAULTS") == "full"
COUNT = 2000 if IS_FULL else 200
CANARY = "hostile-canary"
"""In every name, so that a path made of one is known when it is opened."""
STEPS = ["..", "%2e%2e", "%252e%252e", "..;", ".%00", "\\..", "....//", "%c0%ae%c0%ae", "~", "//"]
ENDS = [
    f"{CANARY}",
    f"{CANARY}%00.json",
    f"{CANARY};x=1",
    f"{CANARY}\x00",
    f"<script>{CANARY}</script>",
    f"\"'><img src=x onerror=alert('{CANARY}')>",
    f"{{{{{CANARY}}}}}",
    f"{CANARY}\r\nset-cookie: a=b",
    f"$(touch {CANARY})",
    f"-{CANARY}",
    f"{CANARY}\u202egnp",
    f"{CANARY}" + "x" * 300,
]
PATHS = [
    "/v1/runs/{}",
    "/v1/runs/{}/log",
    "/v1/runs/{}/curve",
    "/v1/nights/{}",
    "/v1/models/{}",
    "/v1/aliases/{}/moves",
    "/v1/runs/1/log?attempt={}",
    "/v1/runs?state={}",
    "/v1/compare?run={}&run=1",
    "/v1/recommend?user={}",
    "/static/{}",
    "/runs/{}",
    "/{}",
    "/v1/../{}",
]


def names(count):
    """Yield names, the same ones each time."""
    chosen = random.Random(0)
    for _ in range(count):
        steps = "/".join(chosen.choices(STEPS, k=chosen.randint(0, 6)))
        # The canary alone is a name as any other.
        end = chosen.choice(ENDS if steps else ENDS[1:])
        name = f"{steps}/{end}" if steps else end
        yield name if chosen.random() < 0.5 else re.sub("/", "%2f", name)


def sendable(text):
    """Return a text with what no request line can hold in percent signs, all else as it is."""
    return "".join(
        sign if "!" <= sign <= "~" else "".join(f"%{byte:02x}" for byte in sign.encode())
        for sign in text
    )


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """Send every name in an address, a spec, a trigger and a form; return the server and answers."""
    folder = tmp_path_factory.mktemp("names")
    trace = folder / "trace"
    wrapper = traced([], trace)[:-1] if can_trace() else ()
    server = ServerProcess(folder, wrapper=wrapper, http={"burst": 10**6}).kept()
    chosen = random.Random(1)
    received = []
    with server.client("admin") as client:
        for name in names(COUNT):
            way = chosen.randrange(4)
            if way == 0:
                path = chosen.choice(PATHS).format(sendable(name))
                request = httpx.Request(
                    "GET",
                    server.url,
                    headers=client.headers,
                    extensions={"target": path.encode()},
                )
                answer = client.send(request)
            elif way == 1:
                field = chosen.choice(["dataset", "recipe"])
                answer = client.post("/v1/runs", json={**SPEC, field: name})
            elif way == 2:
                trigger = {"name": name, "kind": "cron", "cron": "0 1 * * *", "night": SPEC}
                answer = client.post("/v1/triggers", json=trigger)
            else:
                answer = client.get("/login", params={"next": name}, headers={"accept": "text/html", "authorization": ""})  # fmt: skip
            received.append((name, way, answer))
        labels = [name for name in ENDS if "\x00" not in name and len(name) <= 200]
        for label in labels:
            run = client.post("/v1/runs", json={**SPEC, "label": label})
            assert run.json()["label"] == label
    assert server.stop() == 0
    return server, received, trace if wrapper else None


def test_each_name_is_refused_or_escaped(answers):
    _, received, _ = answers

    assert len(received) == COUNT
    for name, way, answer in received:
        assert answer.status_code < 500 or answer.status_code == 503, (name, answer.text)
        assert answer.status_code not in {200, 201} or way == 0, (name, answer.text)
        assert "set-cookie" not in answer.headers, name
        kind = answer.headers["content-type"]
        if kind.startswith("text/html"):
            assert "<script>" not in answer.text, name  # ours has a src
            assert "<img src=x" not in answer.text, name
        else:
            assert kind.startswith(("application/json", "text/plain")), (name, kind)
            assert answer.headers["x-content-type-options"] == "nosniff"
            if kind.startswith("application/json"):
                json.loads(answer.text)


def test_no_name_became_a_path(answers):
    server, _, trace = answers
    if trace is None:
        pytest.skip("strace is not installed, or may not trace: no look at what the server opened")

    opened = [line for line in trace.read_text(errors="replace").splitlines() if "open" in line]
    assert len(opened) > 100
    assert [line for line in opened if CANARY in line] == []
    left = {path.name for path in Path(server.data).rglob("*") if CANARY in path.name}
    assert left == set()


def test_the_server_opened_nothing_outside_its_folders_once_it_served(answers):
    server, _, trace = answers
    if trace is None:
        pytest.skip("strace is not installed, or may not trace: no look at what the server opened")

    known = [
        str(server.folder),
        str(Path(__file__).parents[3]),
        "/proc",
        "/sys/",
        "/dev/",
        "/etc/",
    ]
    known += [str(Path(one).resolve()) for one in sys.path if one] + [sys.prefix, sys.base_prefix]
    known += ["/usr/", "/lib", "/bin/", "/tmp/bash_jobs"]
    pattern = re.compile(r'open(?:at)?\((?:AT_FDCWD[^,]*, )?"([^"]+)"')
    elsewhere = {
        match[1]
        for line in trace.read_text(errors="replace").splitlines()
        if (match := pattern.search(line)) and match[1].startswith("/")
    }
    assert [path for path in sorted(elsewhere) if not path.startswith(tuple(known))] == []
