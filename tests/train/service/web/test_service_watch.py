"""What the stream of events of the whole service tells, beside the runs."""

from crossan.train.service.web.service_watch import ServiceWatch
from support.registered import registered
from support.started import wait_until

NIGHT = {"dataset": "shop", "settings": {"model.kind": "popularity"}, "limits": {"memory_gib": 0.5}}
TRIGGER = {"name": "nightly", "kind": "cron", "cron": "30 2 * * *", "night": NIGHT}


def told(watch, kind=None):
    events = watch.look()
    return [(one.name, one.content) for one in events if kind in {None, one.name}]


def test_moves_of_aliases_are_told_once(door, tmp_path):
    service = door.service
    registered(service.registry, service.database, tmp_path, 2)
    watch = ServiceWatch(service)
    assert told(watch) == []

    service.registry.promote("staging", 1, 0, "ada")
    assert told(watch) == [("alias", {"name": "staging", "version": 1, "revision": 1})]
    service.registry.promote("staging", 2, 1, "ada")
    service.registry.rollback("staging", 2, "ada")
    assert told(watch) == [("alias", {"name": "staging", "version": 1, "revision": 3})]
    assert told(watch) == []


def test_a_night_is_told_when_it_begins_and_when_it_has_ended(door):
    watch = ServiceWatch(door.service)
    door.client("admin").post("/v1/nights", json={**NIGHT, "label": "sleep 600"})
    assert told(watch, "night") == [("night", {"id": 1, "state": "running"})]
    door.client("admin").post("/v1/nights/1/cancel")
    ends = []
    wait_until(lambda: ends.extend(told(watch, "night")) or ends, "the end is told")
    assert ends == [("night", {"id": 1, "state": "cancelled"})]


def test_a_trigger_is_told_when_it_comes_runs_and_goes(door):
    watch = ServiceWatch(door.service)
    client = door.client("admin")
    client.post("/v1/triggers", json=TRIGGER)
    ((_, added),) = told(watch, "trigger")
    assert (added["name"], added["last_night"]) == ("nightly", None)
    client.post("/v1/triggers/nightly/run")
    ((_, begun),) = told(watch, "trigger")
    assert begun["last_night"] == 1
    client.delete("/v1/triggers/nightly")
    assert told(watch, "trigger") == [("trigger", {"name": "nightly", "is_removed": True})]


def test_an_epoch_is_told_when_its_line_is_there(door):
    client = door.client("submit")
    run = {**NIGHT, "label": "sleep 600"}
    number = client.post("/v1/runs", json=run).json()["id"]

    def state():
        return client.get(f"/v1/runs/{number}").json()["state"]

    wait_until(lambda: state() == "running", "it runs")
    watch = ServiceWatch(door.service)
    assert told(watch, "epoch") == []
    folder = door.service.folder.output(number)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.jsonl").write_text("{}\n")
    assert told(watch, "epoch") == [("epoch", {"run": number, "bytes": 3})]
    assert told(watch, "epoch") == []
    client.post(f"/v1/runs/{number}/cancel")


def test_the_version_that_answers_is_told(door, monkeypatch):
    watch = ServiceWatch(door.service)
    monkeypatch.setattr(door.service.serving, "loaded", lambda: 7)
    assert told(watch) == [("answering", {"version": 7, "problem": None})]
