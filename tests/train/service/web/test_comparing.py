import asyncio

import pytest

from crossan.cache_schema.errors import BusyError, ConfigError
from crossan.train.service.web.comparing import Comparisons
from support.finished_runs import write_run
from support.service import SPEC
from support.started import wait_until


@pytest.fixture(scope="module")
def finished(shared_door):
    """Return a client of a service on which two trainings have succeeded."""
    client = shared_door.client("submit")
    for number in (1, 2):
        client.post("/v1/runs", json=SPEC)
        write_run(shared_door.service.folder.output(number), [1, 2, 3 + number] * 10, seed=number)

    def are_over():
        runs = client.get("/v1/runs").json()["runs"]
        return {run["state"] for run in runs} == {"succeeded"}

    wait_until(are_over, "both trainings succeed")
    return client


def test_runs_are_set_side_by_side_by_the_command(finished, shared_door):
    answer = finished.get("/v1/compare?run=1&run=2")

    assert answer.status_code == 200, answer.text
    assert {"run 1", "run 2"} <= set(str(answer.json()).replace("'", '"').split('"'))

    # The same comparison again takes no process: the folders may be gone.
    for number in (1, 2):
        folder = shared_door.service.folder.output(number)
        folder.rename(folder.with_name("moved"))
    assert finished.get("/v1/compare?run=1&run=2").json() == answer.json()
    gone = finished.get("/v1/compare?run=2&run=1")
    assert gone.status_code == 422
    message = gone.json()["error"]["message"]
    assert message.startswith("compare: no run at run 2: ")
    assert str(shared_door.service.folder.output(2)) not in message


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("run=1", 422),
        ("run=1&run=1", 422),
        ("run=1&run=7", 404),
        ("run=1&run=../2", 422),
        ("", 422),
        ("&".join(f"run={number}" for number in range(1, 23)), 422),
    ],
)
def test_what_cannot_be_compared_is_said(finished, query, status):
    answer = finished.get(f"/v1/compare?{query}")

    assert answer.status_code == status
    assert answer.json()["error"]["message"]


def test_a_training_that_has_not_succeeded_is_refused(door):
    client = door.client("submit")
    for label in ("sleep 1000", "fail"):
        client.post("/v1/runs", json={**SPEC, "label": label})

    answer = client.get("/v1/compare?run=1&run=2")

    assert answer.status_code == 422
    assert "expected a training that has succeeded" in answer.json()["error"]["message"]


def test_one_comparison_is_made_at_a_time_and_few_wait(tmp_path):
    folders = {1: tmp_path / "missing", 2: tmp_path / "missing too"}

    async def ask_often():
        comparisons = Comparisons(most_waiting=1)
        answers = [comparisons.of(folders) for _ in range(3)]
        return await asyncio.gather(*answers, return_exceptions=True)

    kinds = [type(one) for one in asyncio.run(ask_often())]

    assert kinds.count(BusyError) == 2
    assert kinds.count(ConfigError) == 1
