"""Nights, triggers, datasets and stores over HTTP."""

from pathlib import Path

import pytest

from support.nightly import write_store_versions
from support.started import wait_until

NIGHT = {"dataset": "shop", "settings": {"model.kind": "popularity"}, "limits": {"memory_gib": 0.5}}
# On no day on which tests run, but once in four years: none begins a night by itself.
TRIGGER = {"name": "nightly", "kind": "cron", "cron": "30 2 29 2 *", "night": NIGHT}


@pytest.fixture
def client(door):
    return door.client("admin")


def test_a_night_is_begun_runs_and_says_what_it_did(client):
    answer = client.post("/v1/nights", json={**NIGHT, "label": "say hello"})
    assert (answer.status_code, answer.headers["location"]) == (201, "/v1/nights/1")
    night = answer.json()
    assert (night["state"], night["reason"], night["trigger"]) == (
        "running",
        "begun by admin",
        None,
    )
    assert [run["step"] for run in night["runs"]][:2] == ["update", "train"]

    def ended():
        return client.get("/v1/nights/1").json()["ended"]

    wait_until(ended, "the night ends")
    night = client.get("/v1/nights/1").json()
    assert {run["state"] for run in night["runs"]} == {"succeeded"}
    assert client.get("/v1/nights").json()["nights"][0]["summary"] == night["summary"]
    assert client.get("/v1/nights?before=1").json() == {"nights": [], "before": None}


def test_a_night_is_cancelled(client):
    client.post("/v1/nights", json={**NIGHT, "label": "sleep 600"})
    assert client.post("/v1/nights/1/cancel").status_code == 200
    wait_until(lambda: client.get("/v1/nights/1").json()["ended"], "the night ends")
    assert client.get("/v1/nights/1").json()["state"] == "cancelled"


@pytest.mark.parametrize(
    ("path", "status"),
    [("/v1/nights/99", 404), ("/v1/nights/x", 422), ("/v1/triggers/none", 404)],
)
def test_what_there_is_not_is_said_so(shared_door, path, status):
    client = shared_door.client("admin")
    method = client.delete if "triggers" in path else client.get
    assert method(path).status_code == status


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"dataset": "shp"}, None),
        ({"dataset": "../shop"}, "dataset"),
        ({"settings": {"data.cache": "/"}}, "settings.data.cache"),
        ({"extract": ["smell"]}, "extract.0"),
        ({"gate": {"margin": 2}}, "gate.margin"),
        ({"command": "id"}, "command"),
    ],
)
def test_a_night_that_does_not_fit_is_refused_with_its_field(shared_door, changes, field):
    client = shared_door.client("admin")
    answer = client.post("/v1/nights", json={**NIGHT, **changes})
    assert answer.status_code == 422
    assert answer.json()["error"].get("field") == field
    assert client.get("/v1/nights").json()["nights"] == []


def test_triggers_are_added_run_and_removed(client, door):
    assert door.client("submit").post("/v1/triggers", json=TRIGGER).status_code == 403
    answer = client.post("/v1/triggers", json=TRIGGER)
    assert answer.status_code == 201
    assert answer.json()["next_time"].endswith("T02:30:00.000Z")
    assert client.post("/v1/triggers", json=TRIGGER).status_code == 409
    night = door.client("submit").post("/v1/triggers/nightly/run").json()
    assert (night["trigger"], night["reason"]) == ("nightly", "run by submit")
    (trigger,) = client.get("/v1/triggers").json()
    assert (trigger["name"], trigger["last_night"]) == ("nightly", 1)
    assert client.delete("/v1/triggers/nightly").json()["name"] == "nightly"
    assert client.get("/v1/triggers").json() == []
    bad = client.post("/v1/triggers", json={**TRIGGER, "cron": "99 * * * *"})
    assert (bad.status_code, "Bad minute" in bad.json()["error"]["message"]) == (422, True)


def test_datasets_and_stores_are_listed_without_their_paths(client, door):
    (dataset,) = client.get("/v1/datasets").json()
    assert (dataset["name"], dataset["counts"]["items"], dataset["has_inbox"]) == (
        "shop",
        20,
        False,
    )
    store = write_store_versions(Path(door.service.settings.cache), 2)

    def stores():
        return client.get("/v1/stores").json()

    assert [(one["modality"], one["version"], one["layers"]) for one in stores()] == [
        ("text", 2, [0, 1])
    ]
    wait_until(lambda: stores()[0]["health"], "the health is looked up")
    # A store of nothing but manifests: what is wrong with it is said by its name.
    assert store.name in stores()[0]["health"]["problem"]
    answers = client.get("/v1/stores").text + client.get("/v1/datasets").text
    assert str(store.parent) not in answers
