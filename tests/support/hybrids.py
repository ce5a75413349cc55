"""Data with cold targets, and hybrids of runs that are made on them."""

import json

from crossan.train.cli import train
from support.commands import run
from support.fabricated import PER_TOPIC, make_sequences


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
