"""A night on the sample from end to end: ten new items and 500 interactions become a new model.

The server, the commands and the recommender are the real ones.
"""

from __future__ import annotations

import json

import pytest

from support.night import NIGHT, Served
from support.processes import command_line, process_ids
from support.started import CEILING_S, wait_until

TRIGGER = {"name": "grown", "kind": "log", "grown_by": 400, "night": NIGHT}


@pytest.fixture
def served(tmp_path, sampled):
    served = Served(tmp_path, sampled)
    yield served
    served.client.close()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ten_new_items_become_part_of_a_promoted_and_refitted_model(served):
    first = served.post("/v1/nights", {**NIGHT, "extract": []})
    night = served.ended_night(first["id"])
    assert night["state"] == "promoted", night
    states = {run["step"]: (run["state"], run["reason"]) for run in night["runs"]}
    assert states["update"] == ("skipped", "the inbox is empty")
    assert states["gate"] == ("skipped", "no model is in production yet")

    served.post("/v1/triggers", TRIGGER)
    served.append(10, 500)
    night = served.ended_night(2)
    runs = {run["step"]: run for run in night["runs"]}
    assert night["state"] == "promoted", json.dumps(night, indent=1)
    assert night["reason"] == "500 more interactions"
    assert runs["update"]["result"]["added"] == {"interactions": 500, "users": 100, "items": 10}
    assert runs["extract"]["result"]["stores"][0]["forwarded"] == 10
    assert runs["train"]["result"]["init"] == 1
    assert runs["evaluate"]["result"]["of"] == {"version": 1, "revision": 1}
    assert runs["gate"]["result"]["holds"] is True
    # What is judged has not seen what is held out, what is served has; figures are of the judged.
    assert runs["refit"]["result"]["refit"]["trained_on"] == "all"
    assert "test" not in runs["refit"]["result"]
    assert runs["promote"]["result"]["version"] == 2
    assert night["summary"].startswith("promoted model 2: NDCG@10 ")
    assert "10 new items, 500 interactions" in night["summary"]

    alias = next(one for one in served.get("/v1/aliases") if one["name"] == "production")
    assert alias["version"] == 2
    history = {"history": ["new0", "new1", "new2", "new3"], "top": 10}

    def answered():
        answer = served.client.post("/v1/recommend", json=history)
        return answer.status_code == 200 and answer.json()["model"]["version"] == 2

    wait_until(answered, "model 2 answers", served.process, pause=0.2)
    recommended = [one["item_id"] for one in served.post("/v1/recommend", history)["items"]]
    assert set(recommended) & {f"new{n}" for n in range(4, 10)}, recommended

    # The night's own update and extraction begin no other night.
    trigger = served.get("/v1/triggers")[0]
    assert (trigger["last_night"], len(served.get("/v1/nights")["nights"])) == (2, 2)
    served.process.terminate()
    served.process.wait(CEILING_S)
    left = [pid for pid in process_ids() if str(served.folder) in command_line(pid)]
    assert left == []
