from prometheus_client.parser import text_string_to_metric_families

from support.service import SPEC
from support.started import wait_until


def metrics(door):
    """Return the value of each metric by its name and labels."""
    text = door.client("read").get("/metrics").text
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_runs_are_counted_by_state_and_how_they_ended(door):
    client = door.client("submit")
    client.post("/v1/runs", json={**SPEC, "label": "say a"})
    client.post("/v1/runs", json={**SPEC, "label": "fail"})

    def is_over():
        found = metrics(door)
        return found["crossan_runs", ("state", "queued")] + found[
            "crossan_runs", ("state", "running")
        ] == 0 and "crossan_runs_ended_total" in {name for name, *_ in found}

    wait_until(is_over, "both runs end")
    found = metrics(door)
    assert found["crossan_runs", ("state", "succeeded")] == 1
    assert found["crossan_runs", ("state", "failed")] == 1
    assert found["crossan_runs_ended_total", ("state", "failed"), ("step", "train")] == 1
    assert found["crossan_attempts_total", ("step", "train")] == 2
    assert found["crossan_queue_wait_seconds_count",] == 2


def test_slots_and_the_oldest_run_that_waits_are_told(door):
    client = door.client("submit")
    limits = {"cpus": 2, "memory_gib": 0.25}
    for _ in range(2):
        client.post("/v1/runs", json={**SPEC, "label": "sleep 1000", "limits": limits})
    wait_until(lambda: metrics(door)["crossan_runs", ("state", "running")] == 1, "one goes")

    found = metrics(door)
    assert found["crossan_slots_used", ("kind", "cpus")] == 2
    assert found["crossan_slots_used", ("kind", "memory_gib")] == 0.25
    assert found["crossan_slots_used", ("kind", "gpus")] == 0
    assert found["crossan_queue_oldest_seconds",] > 0


def test_requests_are_timed_by_the_template_of_their_route_alone(door):
    metrics_of = door.service.metrics
    metrics_of.on_answer("/v1/runs/{run_id}", "GET", 200, 0.003)
    metrics_of.on_answer("/v1/runs/{run_id}", "BREW", 405, 0.003)

    found = metrics(door)
    labels = (("method", "GET"), ("route", "/v1/runs/{run_id}"), ("status", "200"))
    assert found["crossan_request_seconds_count", *labels] == 1
    assert not any("BREW" in str(key) for key in found)


def test_the_age_of_the_newest_backup_is_told_once_there_is_one(door):
    assert ("crossan_backup_age_seconds",) not in metrics(door)
    door.service.folder.backups.mkdir(exist_ok=True)
    (door.service.folder.backups / "000001-20261127T000000Z.sqlite3").touch()

    assert 0 <= metrics(door)["crossan_backup_age_seconds",] < 600


def test_the_model_that_answers_is_told(door):
    found = metrics(door)

    assert found["crossan_model_version",] == 0
    assert found["crossan_recommend_seconds_count",] == 0


def test_two_services_in_one_process_count_apart(make_door):
    one, other = make_door(), make_door()
    one.service.metrics.on_answer("/healthz", "GET", 200, 0.01)

    labels = (("method", "GET"), ("route", "/healthz"), ("status", "200"))
    assert ("crossan_request_seconds_count", *labels) in metrics(one)
    assert ("crossan_request_seconds_count", *labels) not in metrics(other)
