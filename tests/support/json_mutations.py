"""JSON files with one thing wrong, or many: values of other kinds, other keys, other bytes."""

from __future__ import annotations

import json

DEEP = [[]]
for _ in range(900):
    DEEP = [DEEP]
VALUES = [
    None, True, False, -1, 0, 1, 2, 2**31, 2**53 + 1, 2**63, 2**64, 10**400, -(10**400), 1.0, 1.5, -0.0, 1e300, "",
    "..", ".", "/", "/etc/passwd", "../../etc/passwd", "a/../b", "\0", "a\0b", "~", "C:\\x", "-", "\u202e", "ü",
    "x" * 70_000, "0" * 64, "g" * 64, "A" * 64, [], {}, [None], [[]], [{}], {"": None}, [1, 2, 3], ["x"] * 1_000,
    {"id": "x", "sha256": "y"}, DEEP, "2026-01-02", "text", "video", "float16", "raw", "crc32c", "1", "001",
]  # fmt: skip
"""Values that another kind of value, a larger or smaller one, or a name that leads elsewhere stands for."""
SPELLINGS = [
    "NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1E400", '"\\ud800"', '"\\udfff\\ud800"', '{"a": 1, "a": 2}',
    "1" + "0" * 5_000, "01", "+1", "0x1", ".5", "'x'", "undefined", "{", "[1,]", "/* x */ 1", "1 1", '"\t"',
]  # fmt: skip
"""Spellings that no value has, or that readers differ about."""
_MARK = "5f1d7c3e-mark"


def mutations(data, chance, count):
    """Yield a file's bytes changed in as many ways, with a word for each that says how."""
    value = json.loads(data)
    kinds = [
        _replaced,
        _replaced,
        _respelled,
        _respelled,
        _without,
        _renamed,
        _twice,
        _more,
        _cut,
        _flipped,
        _recoded,
    ]
    for number in range(count):
        kind = kinds[number % len(kinds)]
        changed = kind(data, json.loads(json.dumps(value)), chance)
        if changed != data:
            yield kind.__name__.strip("_"), changed


def spots(value, path=()):
    """Yield the way to every value inside a JSON value."""
    if path:
        yield path
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, below in inner:
        yield from spots(below, (*path, key))


def _parent(value, path):
    for key in path[:-1]:
        value = value[key]
    return value


def _written(value):
    return (json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False) + "\n").encode()


def _replaced(data, value, chance):
    spot = chance.choice(list(spots(value)))
    _parent(value, spot)[spot[-1]] = chance.choice(VALUES)
    return _written(value)


def _respelled(data, value, chance):
    spot = chance.choice(list(spots(value)))
    _parent(value, spot)[spot[-1]] = _MARK
    return _written(value).replace(f'"{_MARK}"'.encode(), chance.choice(SPELLINGS).encode())


def _without(data, value, chance):
    spot = chance.choice(list(spots(value)))
    del _parent(value, spot)[spot[-1]]
    return _written(value)


def _renamed(data, value, chance):
    spot = chance.choice([spot for spot in spots(value) if isinstance(spot[-1], str)])
    parent = _parent(value, spot)
    parent[chance.choice([spot[-1].upper(), spot[-1] + " ", "", "../x", "\0"])] = parent.pop(
        spot[-1]
    )
    return _written(value)


def _twice(data, value, chance):
    spot = chance.choice(list(spots(value)))
    parent = _parent(value, spot)
    if isinstance(parent, list):
        parent.insert(spot[-1], parent[spot[-1]])
        return _written(value)
    parent[_MARK] = chance.choice(VALUES)
    return _written(value).replace(f'"{_MARK}"'.encode(), json.dumps(spot[-1]).encode())


def _more(data, value, chance):
    parents = [value, *(_parent(value, spot) for spot in spots(value))]
    parent = chance.choice([parent for parent in parents if isinstance(parent, dict)])
    parent["more"] = chance.choice(VALUES)
    return _written(value)


def _cut(data, value, chance):
    return data[: chance.randrange(len(data))]


def _flipped(data, value, chance):
    changed = bytearray(data)
    for _ in range(chance.choice([1, 1, 4])):
        changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _recoded(data, value, chance):
    text = data.decode()
    return chance.choice(
        [
            text.encode("utf-16"),
            b"\xef\xbb\xbf" + data,
            data + data,
            data + b"\0",
            b"[" * 100_000,
            b'{"a":' * 100_000,
            json.dumps(value).encode(),
            f"[{text}]".encode(),
            b"null",
            b'"text"',
            data.replace(b"\n", b"\r\n"),
        ]
    )
