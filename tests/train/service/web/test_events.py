import json

import pytest

from crossan.train.service.web.following import Event, QueueWatch, RunWatch
from crossan.train.service.web.routes.events import encoded
from support.service import SPEC
from support.started import wait_until


def submitted(door, **more):
    return door.client("submit").post("/v1/runs", json={**SPEC, **more}).json()["id"]


def state_of(door, run_id):
    return door.client("read").get(f"/v1/runs/{run_id}").json()["state"]


def events_of(text):
    """Return the events of a stream: name, content, id."""
    events = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "event" in fields:
            events.append((fields["event"], json.loads(fields["data"]), fields.get("id")))
    return events


def test_an_event_is_one_block_whatever_it_holds():
    event = Event("log", {"text": "a\nb\r\n\ud800 event: x\n\n"}, "1-2-3")

    block = encoded(event).decode()

    assert block.endswith("\n\n")
    assert block.count("\n\n") == 1
    assert [line.split(":")[0] for line in block.splitlines() if line] == ["id", "event", "data"]


def test_the_stream_of_a_run_that_has_ended_tells_all_and_ends(door):
    run = submitted(door, label="say hello")
    wait_until(lambda: state_of(door, run) == "succeeded", "the run ends")

    answer = door.client("read").get(f"/v1/runs/{run}/events")

    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    events = events_of(answer.text)
    assert [name for name, _, _ in events] == ["state", "log", "end"]
    assert events[0][1]["state"] == "succeeded"
    assert events[1][1]["text"] == "hello\n"
    assert events[2][1:] == ({"state": "succeeded"}, "end")


def test_a_stream_that_was_lost_goes_on_behind_its_last_event(door):
    run = submitted(door, label="say hello")
    wait_until(lambda: state_of(door, run) == "succeeded", "the run ends")
    client = door.client("read")

    behind = client.get(f"/v1/runs/{run}/events", headers={"last-event-id": "1-2-0"})
    ended = client.get(f"/v1/runs/{run}/events", headers={"last-event-id": "end"})
    unknown = client.get(f"/v1/runs/{run}/events", headers={"last-event-id": "../x"})

    logs = [content["text"] for name, content, _ in events_of(behind.text) if name == "log"]
    assert logs == ["llo\n"]
    assert ended.status_code == 204
    assert events_of(unknown.text)[1][1]["text"] == "hello\n"


def test_a_watch_tells_what_is_new_and_nothing_twice(door):
    run = submitted(door, label="sleep 1000")
    wait_until(lambda: state_of(door, run) == "running", "the run goes")
    watch = RunWatch(door.service, run)
    assert [event.name for event in watch.look()] == ["state"]
    assert watch.look() == []

    log = door.service.folder.attempt(run, 1) / "output.log"
    with log.open("a") as file:
        file.write("epoch 1\n")
    folder = door.service.folder.output(run)
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text('{"epoch": 1}\n')
    events = watch.look()
    assert [(event.name, event.content) for event in events[1:]] == [("curve", {"epoch": 1})]
    assert events[0].content["text"] == "epoch 1\n"
    assert watch.look() == []

    door.service.scheduler.cancel(run, "ada")
    wait_until(lambda: state_of(door, run) == "cancelled", "the run is cancelled")
    names = [event.name for event in watch.look()]
    assert names[0] == "state"
    while "end" not in names:
        names += [event.name for event in watch.look()]
    assert names.count("end") == 1


def test_the_log_of_an_attempt_is_told_whole_before_that_of_the_next(door):
    run = submitted(door, label="sleep 1000")
    wait_until(lambda: state_of(door, run) == "running", "the run goes")
    watch = RunWatch(door.service, run)
    watch.look()
    first, second = (door.service.folder.attempt(run, number) for number in (1, 2))
    (first / "output.log").write_text("one")
    second.mkdir()
    (second / "output.log").write_text("two")
    door.service.database.write(
        lambda connection: connection.execute("UPDATE runs SET attempt = 2 WHERE id = ?", (run,))
    )

    logs = []
    for _ in range(3):
        logs += [event.content for event in watch.look() if event.name == "log"]

    assert [(log["attempt"], log["text"]) for log in logs] == [(1, "one"), (2, "two")]


def test_the_queue_is_told_run_by_run(door):
    waiting = submitted(door, label="sleep 1000", limits={"cpus": 2, "memory_gib": 0.1})
    wait_until(lambda: state_of(door, waiting) == "running", "the first run goes")
    watch = QueueWatch(door.service)
    assert watch.look() == []

    new = submitted(door, label="sleep 1000", limits={"cpus": 2, "memory_gib": 0.1})
    assert [(event.content["id"], event.content["state"]) for event in watch.look()] == [
        (new, "queued")
    ]
    door.service.scheduler.cancel(new, "ada")
    assert [(event.content["id"], event.content["state"]) for event in watch.look()] == [
        (new, "cancelled")
    ]
    assert watch.look() == []


def test_a_run_that_came_and_went_between_two_looks_is_told(door):
    watch = QueueWatch(door.service)

    run = submitted(door)
    wait_until(lambda: state_of(door, run) == "succeeded", "the run ends")

    assert [event.content["state"] for event in watch.look()] == ["succeeded"]


@pytest.mark.parametrize("path", ["/v1/events", "/v1/runs/1/events"])
def test_more_streams_than_there_may_be_are_refused(make_door, path):
    door = make_door(http={"event_streams": 1})
    submitted(door)
    streams = door.app.state.streams
    with streams.one():
        answer = door.client("read").get(path)

    assert answer.status_code == 503
    assert len(streams) == 0


def test_streams_end_with_the_server(door):
    door.app.state.streams.end_all()

    assert door.client("read").get("/v1/events").status_code == 503
