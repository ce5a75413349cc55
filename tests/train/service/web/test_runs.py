import pytest

from support.service import SPEC
from support.started import wait_until


@pytest.fixture
def client(door):
    return door.client("submit")


@pytest.fixture
def idle(shared_door):
    """A client of a service that no test gives anything to do."""
    return shared_door.client("submit")


def submitted(client, key=None, **more):
    headers = {} if key is None else {"idempotency-key": key}
    return client.post("/v1/runs", json={**SPEC, **more}, headers=headers)


def ended(client, run_id):
    """Return a run once it has ended."""

    def run():
        return client.get(f"/v1/runs/{run_id}").json()

    wait_until(lambda: run()["ended"] is not None, f"run {run_id} ends")
    return run()


def test_a_run_is_queued_runs_and_shows_what_it_did(client):
    answer = submitted(client, label="say hello")

    assert answer.status_code == 201
    assert answer.headers["location"] == "/v1/runs/1"
    run = answer.json()
    assert (run["id"], run["state"], run["submitted_by"]) == (1, "queued", "submit")
    assert run["created"].endswith("Z")
    run = ended(client, 1)
    assert (run["state"], run["exit_code"], run["attempt"]) == ("succeeded", 0, 1)
    assert run["created"] <= run["started"] <= run["ended"]
    log = client.get("/v1/runs/1/log")
    assert log.text == "hello\n"
    assert log.headers["content-type"] == "text/plain; charset=utf-8"
    assert log.headers["x-next-offset"] == "6"
    assert client.get("/v1/runs/1/log?from=6").text == ""
    assert client.get("/v1/runs/1/log?from=-3").text == "lo\n"
    assert client.get("/v1/runs/1/log?attempt=1&from=1&limit=4").text == "ello"


def test_a_run_that_failed_says_why(client):
    submitted(client, label="fail")

    run = ended(client, 1)

    assert run["state"] == "failed"
    assert "it failed" in run["reason"]


def test_a_request_that_is_sent_again_gives_the_same_run(client, door):
    first = submitted(client, "k1", label="a")
    again = submitted(client, "k1", label="a")
    other = submitted(client, "k2", label="a")
    changed = submitted(client, "k1", label="b")

    assert [one.status_code for one in (first, again, other, changed)] == [201, 200, 201, 409]
    assert first.json()["id"] == again.json()["id"] != other.json()["id"]
    # Another caller's key is another's.
    assert submitted(door.client("admin"), "k1", label="c").status_code == 201


@pytest.mark.parametrize("key", ["", "x" * 201, "a b", "a\tb"])
def test_a_key_that_is_none_is_refused(idle, key):
    answer = submitted(idle, key)

    assert answer.status_code == 422
    assert answer.json()["error"]["field"] == "Idempotency-Key"


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"dataset": "nowhere"}, None),
        ({"dataset": "../shop"}, "dataset"),
        ({"seed": -1}, "seed"),
        ({"command": "rm"}, "command"),
        ({"limits": {"cpus": 3}}, None),
        ({"limits": {"gpus": -1}}, "limits.gpus"),
        ({"settings": {"data.dataset": "/etc"}}, "settings.data.dataset"),
        ({"settings": {"init": "/etc/passwd"}}, "settings.init"),
    ],
)
def test_a_spec_that_is_wrong_is_refused_with_its_place(idle, more, field):
    answer = submitted(idle, **more)

    assert answer.status_code == 422
    error = answer.json()["error"]
    assert error.get("field") == field
    assert idle.get("/v1/runs").json()["runs"] == []


def test_runs_are_listed_by_pages_and_by_state(client):
    for _ in range(5):
        submitted(client, label="sleep 60", limits={"cpus": 2, "memory_gib": 0.1})

    first = client.get("/v1/runs?limit=3").json()
    second = client.get(f"/v1/runs?limit=3&before={first['before']}").json()
    assert [run["id"] for run in first["runs"]] == [5, 4, 3]
    assert [run["id"] for run in second["runs"]] == [2, 1]
    assert (first["before"], second["before"]) == (3, None)
    wait_until(lambda: len(client.get("/v1/runs?state=running").json()["runs"]) == 1, "one runs")
    assert len(client.get("/v1/runs?state=queued").json()["runs"]) == 4
    assert client.get("/v1/runs?night=1").json()["runs"] == []


def test_a_run_is_cancelled_before_and_while_it_runs(client):
    for _ in range(2):
        submitted(client, label="sleep 60", limits={"cpus": 2, "memory_gib": 0.1})
    wait_until(lambda: client.get("/v1/runs/1").json()["state"] == "running", "the first runs")

    assert client.post("/v1/runs/2/cancel").json()["state"] == "cancelled"
    assert client.post("/v1/runs/1/cancel").json()["state"] == "stopping"
    assert ended(client, 1)["state"] == "cancelled"
    # Again changes nothing.
    assert client.post("/v1/runs/1/cancel").json()["state"] == "cancelled"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/runs/7", 404),
        ("/v1/runs/7/log", 404),
        ("/v1/runs/7/curve", 404),
        ("/v1/runs/7/events", 404),
        ("/v1/runs/0", 422),
        ("/v1/runs/-1", 422),
        ("/v1/runs/x", 422),
        ("/v1/runs/1e3", 422),
        ("/v1/runs/99999999999999999999", 422),
        ("/v1/runs/9223372036854775807", 404),
        ("/v1/runs?limit=0", 422),
        ("/v1/runs?limit=501", 422),
        ("/v1/runs?state=gone", 422),
        ("/v1/runs?before=99999999999999999999", 422),
    ],
)
def test_what_is_not_there_is_said_and_nothing_fails(idle, path, status):
    answer = idle.get(path)

    assert answer.status_code == status
    assert answer.json()["error"]["message"]


def test_a_log_that_has_not_begun_is_empty(client):
    submitted(client, label="sleep 60", limits={"cpus": 2, "memory_gib": 0.1})
    submitted(client, label="sleep 60", limits={"cpus": 2, "memory_gib": 0.1})

    assert client.get("/v1/runs/2/log").text == ""
    assert client.get("/v1/runs/2/log?attempt=1").status_code == 404


def test_a_curve_is_read_as_it_grows(client, door):
    submitted(client)
    ended(client, 1)
    folder = door.service.folder.output(1)
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text('{"epoch": 1, "loss": NaN}\n{"epoch": 2')

    curve = client.get("/v1/runs/1/curve").json()
    assert curve["lines"] == [{"epoch": 1, "loss": None}]
    (folder / "metrics.jsonl").write_text('{"epoch": 1, "loss": NaN}\n{"epoch": 2}\n')
    later = client.get(f"/v1/runs/1/curve?from={curve['next_offset']}").json()
    assert later["lines"] == [{"epoch": 2}]
