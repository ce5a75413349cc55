"""A night on the sample, and ``crossan serve`` for it with the real commands behind it."""

from __future__ import annotations

import json
import os
import random
import shutil
import tomllib
from pathlib import Path

import httpx

from crossan.common.config import toml_value
from support import started
from support.processes import command_line, process_ids
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


class Gate:
    """Holds each training before it writes down an epoch, until a test lets it."""

    def __init__(self, folder):
        self._folder = folder
        folder.mkdir()

    @property
    def environment(self):
        """Return the variables of a server whose trainings wait at this gate."""
        return {
            "HELD_EPOCHS": str(self._folder),
            "PYTHONPATH": str(Path(__file__).parent / "held"),
        }

    def let_through(self, epoch):
        """Let every training write down one more epoch."""
        (self._folder / f"line-{epoch}").touch()

    def open(self):
        """Let every training write down all epochs."""
        (self._folder / "open").touch()

    def close(self):
        """Hold trainings again, from their first epoch on."""
        for file in self._folder.iterdir():
            file.unlink()


class Served:
    """``crossan serve`` on a copy of the sample.

    ``environment`` are variables of the server and its programs, ``more`` settings beside its own.
    """

    def __init__(self, folder, sample, environment=None, **more):
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
            **more,
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
                env={**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})},
            )
        address = data / "address.json"
        wait_until(address.is_file, "the server answers", self.process)
        tokens = tomllib.loads((data / "tokens.toml").read_text())["token"]
        self.tokens = {one["role"]: one["token"] for one in tokens}
        self.url = json.loads(address.read_text())["url"]
        self.client = httpx.Client(
            base_url=self.url,
            headers={"authorization": f"Bearer {self.tokens['admin']}"},
            timeout=CEILING_S,
        )

    def kept(self):
        """Return this server, kept beyond the test that started it."""
        started._started.remove(self.process)
        return self

    def stop(self):
        """End the server as an operator would; nothing of it is left running."""
        self.process.terminate()
        self.process.wait(CEILING_S)
        left = [pid for pid in process_ids() if str(self.folder) in command_line(pid)]
        assert left == []

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

        wait_until(
            lambda: night()["ended"], f"night {number} ends", self.process, 0.2, 2 * CEILING_S
        )
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
