"""Files damaged in hundreds of ways: by chance, the same each time, as bytes and as JSON values."""

from __future__ import annotations

import copy
import json
import random

HOSTILE = [
    None, True, -1, 0, 2**63, 10**30, 1.5, -1e308, "", "x" * 5_000, "../../etc/passwd", "/dev/zero",
    "\x1b[2J\u202e", "nan", [], {}, [[]], {"": {}}, [None] * 50, {"__proto__": 1},
]  # fmt: skip
"""Values of every JSON type that no field expects."""
TOKENS = [b"NaN", b"Infinity", b"1e999", b"9" * 5_000, b'"\\ud800"', b"[" * 3_000, b"\xff", b"\x00"]
"""Pieces of text that some readers of JSON take and others do not."""


def mutations(data, count, seed=0):
    """Yield ``count`` other contents of a file, bytes each; JSON is also changed value by value."""
    chance = random.Random(seed)
    try:
        value = json.loads(data)
    except ValueError:
        value = None
    for number in range(count):
        if value is not None and number % 2:
            yield _other_value(chance, value)
        else:
            yield _other_bytes(chance, data)


def _other_bytes(chance, data):
    kind = chance.choice(["flip", "cut", "drop", "repeat", "insert", "zero", "extend", "empty"])
    at = chance.randrange(len(data) + 1)
    end = min(len(data), at + chance.randint(1, 40))
    if kind == "flip" and at < len(data):
        return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]
    return {
        "flip": data[:-1],
        "cut": data[:at],
        "drop": data[:at] + data[end:],
        "repeat": data[:end] + data[at:],
        "insert": data[:at] + chance.choice(TOKENS) + data[at:],
        "zero": data[:at] + bytes(end - at) + data[end:],
        "extend": data + chance.choice(TOKENS),
        "empty": b"",
    }[kind]


def _other_value(chance, value):
    changed = copy.deepcopy(value)
    if not isinstance(value, dict | list) or chance.random() < 0.05:
        return json.dumps(chance.choice(HOSTILE)).encode()
    node, key = chance.choice(list(_places(changed)))
    kind = chance.choice(["replace", "replace", "replace", "remove", "rename", "token"])
    if kind == "remove":
        del node[key]
    elif kind == "rename" and isinstance(node, dict):
        node[chance.choice(["", "x" * 300, "hr@1", "\x1b"])] = node.pop(key)
    elif kind == "token":
        node[key] = "@TOKEN@"
        return json.dumps(changed).encode().replace(b'"@TOKEN@"', chance.choice(TOKENS))
    else:
        node[key] = chance.choice(HOSTILE)
    return json.dumps(changed).encode()


def _places(value):
    """Yield every node of a JSON value with every key or index of it."""
    keys = value.keys() if isinstance(value, dict) else range(len(value))
    for key in keys:
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])
