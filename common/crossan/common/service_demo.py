"""``crossan demo --service``, a night of the training service on the built-in sample.

As the other demo it only runs commands that the reader can run, and shows them.
"""

from __future__ import annotations

import json
import random
import shlex
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossan.cache_schema.errors import CrossanError
from crossan.common.console import Column, heading, note, print_json, print_table
from crossan.common.files import replace_durably
from crossan.common.refusals import make_folder

__all__ = ["run_service_demo"]

_SETTINGS = (
    "data.modality=['text']",
    "data.drop_items=true",
    "model.kind=frozen",
    "model.fusion=concat",
    "model.width=32",
    "optimiser.lr=3e-3",
    "batch_size=128",
    "max_epochs=6",
)
_NEW_ITEMS, _NEW_USERS, _CLICKS_EACH = 10, 100, 5
_WORDS = ("anchor", "lighthouse", "tide", "deck", "harbour", "sail")
_START = 1_790_000_000_000
"""Milliseconds since 1970 of the first new click, after all those of the sample."""
_HISTORY = ("new0", "new1", "new2", "new3")
_SERVER_SECONDS = 120.0
_NIGHT_SECONDS = 3600.0


class ServiceDemoError(CrossanError):
    """A step of the demo failed, or what it promises did not come."""


@dataclass(frozen=True, slots=True)
class _Server:
    url: str
    token: str

    def ask(self, path: str, content: Any = None) -> Any:  # noqa: ANN401 - JSON
        request = urllib.request.Request(  # noqa: S310 - the address that our own server wrote
            f"{self.url}{path}",
            None if content is None else json.dumps(content).encode(),
            {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - as above
            return json.load(answer)


def run_service_demo(out: Path, seed: int, *, keep: bool, as_json: bool) -> None:
    """Run a first night on the sample, and a second one that new clicks trigger.

    Parameters
    ----------
    out
        An empty folder.
    seed
        Of the sample and of what is appended to it.
    keep
        Whether the server goes on when the demo ends.
    as_json
        Whether to print one JSON object.

    Raises
    ------
    ServiceDemoError
        A command failed, a night did not end with a new model, or no new item is recommended.
    """
    start = time.monotonic()
    data = str(out / "service")
    _run(["crossan", "data", "sample", str(out / "datasets/sample"), "--seed", str(seed)])
    _run(["crossan", "backbones", "init-tiny", str(out / "backbones"), "--seed", str(seed)])
    _write_settings(out)
    what = ["--dataset", "sample", "--extract", "text", "--data", data, "--margin", "0.05"]
    settings = [word for setting in _SETTINGS for word in ("--set", setting)]
    with _serving(out, keep=keep) as server:
        _run(["crossan", "nights", "begin", *what, *settings])
        nights = [_ended(server, 1)]
        _run(["crossan", "triggers", "add", "grown", "--grown-by", "400", *what, *settings])
        _append(out / "inbox/sample", seed)
        nights.append(_ended(server, 2))
        _run(["crossan", "nights", "ls", "--data", data])
        _run(["crossan", "models", "ls", "--data", data])
        heading(f"POST {server.url}/v1/recommend  history: {', '.join(_HISTORY)}")
        items = _recommended(server, nights[-1])
        _report(server, nights, items, time.monotonic() - start, keep=keep, as_json=as_json)
    if not any(item["item_id"].startswith("new") for item in items):
        raise ServiceDemoError("expected a new item among the recommended ones, found none")


def _run(command: Sequence[str]) -> None:
    heading(f"$ {shlex.join(command)}")
    program = Path(sys.executable).parent / command[0]
    finished = subprocess.run([str(program), *command[1:]], check=False, stdout=sys.stderr)
    if finished.returncode != 0:
        raise ServiceDemoError(
            f"this step ended with exit code {finished.returncode}: {shlex.join(command)}"
        )


def _write_settings(out: Path) -> None:
    folder = out.absolute()
    for name in ("service", "inbox/sample", "cache"):
        make_folder(folder / name)
    # A path is a basic string of TOML in the spelling of JSON.
    paths = {
        "roots": [str(folder / "datasets")],
        "cache": str(folder / "cache"),
        "inbox": str(folder / "inbox"),
    }
    lines = [f"{name} = {json.dumps(value)}" for name, value in paths.items()]
    lines += ["port = 0", "watch_seconds = 0.5", "debounce_seconds = 2.0", "", "[backbones]"]
    lines += [f"text = {json.dumps(str(folder / 'backbones'))}", ""]
    file = folder / "service/service.toml"
    replace_durably(file, "\n".join(lines).encode())
    heading(f"$ cat {out / 'service/service.toml'}")
    note("\n".join(lines))


@contextmanager
def _serving(out: Path, *, keep: bool) -> Iterator[_Server]:
    command = ["crossan", "serve", "--data", str(out / "service")]
    heading(f"$ {shlex.join(command)} &")
    program = Path(sys.executable).parent / command[0]
    with (out / "service.log").open("w") as log:
        process = subprocess.Popen(
            [str(program), *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    is_kept = False
    try:
        yield _address(out / "service", process)
        is_kept = keep
    finally:
        if not is_kept:
            process.terminate()
            process.wait()


def _address(data: Path, process: subprocess.Popen[bytes]) -> _Server:
    deadline = time.monotonic() + _SERVER_SECONDS
    while not (data / "address.json").is_file():
        if process.poll() is not None or time.monotonic() > deadline:
            raise ServiceDemoError(
                "the server did not start", remedy=f"Read {data.parent / 'service.log'}"
            )
        time.sleep(0.1)
    url = json.loads((data / "address.json").read_bytes())["url"]
    tokens = tomllib.loads((data / "tokens.toml").read_text(encoding="utf-8"))["token"]
    token = next(one["token"] for one in tokens if one["role"] == "read")
    note(f"dashboard: {url}    log in with a token of {data / 'tokens.toml'}")
    return _Server(url, token)


def _ended(server: _Server, number: int) -> dict[str, Any]:
    """Return a night once it has ended, and say which of its steps goes on until then."""
    deadline = time.monotonic() + _NIGHT_SECONDS
    said = ""
    while time.monotonic() < deadline:
        night = _night(server, number)
        if night is None:
            time.sleep(0.5)
            continue
        if night["ended"] is not None:
            note(f"night {number}: {night['summary']}")
            if night["state"] != "promoted":
                raise ServiceDemoError(
                    f"expected night {number} to promote a model: {night['summary']}"
                )
            return night
        step = next((run["step"] for run in night["runs"] if run["state"] == "running"), said)
        if step != said:
            said = step
            note(f"night {number} ({night['reason']}): {step}")
        time.sleep(0.5)
    raise ServiceDemoError(f"night {number} has not ended after an hour")


def _night(server: _Server, number: int) -> dict[str, Any] | None:
    try:
        night: dict[str, Any] = server.ask(f"/v1/nights/{number}")
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
        return None  # its trigger has not fired yet
    return night


def _append(inbox: Path, seed: int) -> None:
    """Put ten new items, and what a hundred new users did with them, into the inbox."""
    chance = random.Random(seed)  # noqa: S311 - made-up clicks
    titles = [f"new{n},{' '.join(chance.sample(_WORDS, 4))} new {n}" for n in range(_NEW_ITEMS)]
    clicks = [
        f"n{user:03d},new{item},{_START + 60_000 * (_CLICKS_EACH * user + step)}"
        for user in range(_NEW_USERS)
        for step, item in enumerate(chance.sample(range(_NEW_ITEMS), _CLICKS_EACH))
    ]
    replace_durably(inbox / "items.csv", "\n".join(["item_id,title", *titles, ""]).encode())
    header = "user_id,item_id,timestamp"
    replace_durably(inbox / "interactions.csv", "\n".join([header, *clicks, ""]).encode())
    note(f"\nappended {len(titles)} new items and {len(clicks)} interactions to {inbox}")


def _recommended(server: _Server, night: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what the night's model recommends, once it answers."""
    promotion = next(run for run in night["runs"] if run["step"] == "promote")
    version = promotion["result"]["version"]
    deadline = time.monotonic() + _SERVER_SECONDS
    while time.monotonic() < deadline:
        try:
            answer = server.ask("/v1/recommend", {"history": list(_HISTORY), "top": 20})
        except urllib.error.HTTPError as error:
            if error.code < 500:
                raise
        else:
            if answer["model"]["version"] == version:
                items: list[dict[str, Any]] = answer["items"]
                return items
        time.sleep(0.2)
    raise ServiceDemoError(f"model {version} does not answer")


def _report(
    server: _Server,
    nights: list[dict[str, Any]],
    items: list[dict[str, Any]],
    seconds: float,
    *,
    keep: bool,
    as_json: bool,
) -> None:
    if as_json:
        summaries = [night["summary"] for night in nights]
        print_json(
            {"nights": summaries, "items": items, "dashboard": server.url, "seconds": seconds}
        )
    else:
        columns = [Column("item"), Column("title"), Column("score", is_number=True)]
        rows = [[item["item_id"], item["title"] or "", f"{item['score']:.3f}"] for item in items]
        print_table(columns, rows)
    state = "goes on" if keep else "has ended; --keep leaves it running"
    note(f"\ndashboard: {server.url} (the server {state})    {seconds:.0f} s in all")
