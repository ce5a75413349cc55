"""A night on the sample from end to end: ten new items and 500 interactions become a new model.

The server, the commands and the recommender are the real ones.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import tomllib
from pathlib import Path

import httpx
import pytest

from crossan.common.config import toml_value
from support.processes import command_line
from support.started import CEILING_S, PROGRAMS, start, wait_until

NIGHT = {
    "dataset": "sample",
    "extract": ["text"],
    "settings": {
        "data.modality": ["text"],
        "data.drop_items": True,
        "model.kind": "frozen",
        "model.fusion": "concat",
        "model.width": 32,
        "model.id_embedding": True,
        "optimiser.lr": 3e-3,
        "optimiser.id_lr": 1e-2,
        "batch_size": 256,
        "max_epochs": 3,
    },
    "gate": {"margin": 0.05, "cold_margin": 0.1},
}
TRIGGER = {"name": "grown", "kind": "log", "grown_by": 400, "night": NIGHT}


class Served:
    """``crossan serve`` on a copy of the sample."""

    def __init__(self, folder, sample):
        self.folder = folder
        shutil.copytree(sample / "dataset", folder / "roots/sample")
        shutil.copytree(sample / "cache/sample/text", folder / "cache/sample/text")
        self.inbox = folder / "inbox/sample"
        self.inbox.mkdir(parents=True)
        settings = {
            "roots": [str(folder / "roots")],
            "cache": str(folder / "cache"),
            "inbox": str(folder / "inbox"),
            "backbones": {"text": str(sample / "backbones")},
            "port": 0,
            "watch_seconds": 0.5,
            "debounce_seconds": 1.0,
        }
        data = folder / "service"
        data.mkdir()
        lines = [f"{name} = {toml_value(value)}\n" for name, value in settings.items()]
        (data / "service.toml").write_text("".join(lines))
        with (folder / "log").open("w") as log:
            self.process = start(
                *(PROGRAMS / "crossan", "serve", "--data", data, "--json"),
                stdout=log,
                stderr=log,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
        address = data / "address.json"
        wait_until(address.is_file, "the server answers", self.process)
        tokens = tomllib.loads((data / "tokens.toml").read_text())["token"]
        token = next(one["token"] for one in tokens if one["role"] == "admin")
        self.client = httpx.Client(
            base_url=json.loads(address.read_text())["url"],
            headers={"authorization": f"Bearer {token}"},
            timeout=CEILING_S,
        )

    def get(self, path):
        answer = self.client.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path, content):
        answer = self.client.post(path, json=content)
        assert answer.status_code in {200, 201}, answer.text
        return answer.json()

    def ended_night(self, number):
        """Return a night once it has ended."""

        def night():
            answer = self.client.get(f"/v1/nights/{number}")
            return answer.json() if answer.status_code == 200 else {"ended": None}

        wait_until(lambda: night()["ended"], f"night {number} ends", self.process, pause=0.2)
        return night()

    def append(self, items, interactions):
        """Put new items, and what 100 new users did with them, into the inbox."""
        chance = random.Random(0)
        words = ["anchor", "lighthouse", "tide", "deck", "harbour", "sail"]
        titles = [f"new{n},{' '.join(chance.sample(words, 4))} new {n}" for n in range(items)]
        start = 1_790_000_000_000
        rows = [
            f"n{user:03d},new{item},{start + 60_000 * (5 * user + step)}"
            for user in range(interactions // 5)
            for step, item in enumerate(chance.sample(range(items), 5))
        ]
        # The log last: it is what the trigger waits for.
        (self.inbox / "items.csv").write_text("\n".join(["item_id,title", *titles, ""]))
        header = "user_id,item_id,timestamp"
        (self.inbox / "interactions.csv").write_text("\n".join([header, *rows, ""]))


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
    left = [pid for pid in pids() if str(served.folder) in command_line(pid)]
    assert left == []


def pids():
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
