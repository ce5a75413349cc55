"""Data with cold targets, and hybrids of runs that are made on them."""

import json
import shutil

from crossan.train.cli import train
from support.commands import run
from support.fabricated import PER_TOPIC, TOPICS, append_like, make_sequences, write_rows

LATER = "i0z"
_ITEMS = [f"i{topic}{item}" for topic in range(TOPICS) for item in range(PER_TOPIC)]


def sequences():
    """Those of `make_sequences`, where every third user ends with two items of no training part."""
    rows = []
    for user, item, time in make_sequences():
        is_ending = int(user[1:]) % 3 == 1 and time >= 4
        rows.append((user, f"i{item[1]}{PER_TOPIC - 6 + time}" if is_ending else item, time))
    return rows


def make_hybrid(place, *of, out="h", more=()):
    """Make a hybrid of runs in a folder and return its result."""
    named = ",".join(str(place / name) for name in of)
    arguments = ("--model", "hybrid", "--of", named, "--out", place / out, "--device", "cpu")
    return json.loads(run(train, *arguments, "--json", *more).stdout.splitlines()[-1])


def with_later_item(place, tmp_path, like, since=()):
    """Return the hybrid ``h`` at another place, whose data have gained an item with the states of another."""
    for name in ("d", "c", "h"):
        shutil.copytree(place / name, tmp_path / name)
    for name in ("config.toml", "env.json", "cache.lock.json"):
        path = tmp_path / "h" / name
        path.write_text(path.read_text().replace(str(place), str(tmp_path)))
    shutil.rmtree(tmp_path / "d")
    write_rows(tmp_path / "d", [*sequences(), *since], items=[*_ITEMS, LATER])
    append_like(tmp_path / "c", LATER, like)
    return tmp_path / "h"
