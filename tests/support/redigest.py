"""Digests that agree with a store's files again, as somebody who means harm would make them."""

from __future__ import annotations

import json

import google_crc32c

from crossan.cache_schema.canonical import digest_of, pretty_bytes, sha256_hex

_NOT_A_STORE = (
    ValueError,
    KeyError,
    TypeError,
    OSError,
    AttributeError,
    RecursionError,
    IndexError,
)


def redigest(store):
    """Make every digest agree with what lies there now, as an attacker would."""
    entries = {}
    for record in sorted(store.glob("segments/*/segment.json")):
        try:
            value = json.loads(record.read_text())
            for file in value["files"]:
                found = record.parent / file["path"]
                data = found.read_bytes()
                file.update(size=len(data), sha256=sha256_hex(data))
                if "crc32c" in file:
                    file["crc32c"] = f"{google_crc32c.value(data[:-4]):08x}"
            record.write_bytes(pretty_bytes(value))
        except _NOT_A_STORE:
            pass
        if record.is_file():
            entries[record.parent.name] = sha256_hex(record.read_bytes())
    parent = None
    for path in sorted(store.glob("versions/*.json")):
        try:
            value = json.loads(path.read_text())
            for segment in value["segments"]:
                segment["sha256"] = entries.get(segment["id"], segment["sha256"])
            value["store_sha256"] = sha256_hex((store / "store.json").read_bytes())
            value["parent"] = parent
            value["digest"] = parent = digest_of(
                {key: inner for key, inner in value.items() if key != "digest"}
            )
            path.write_bytes(pretty_bytes(value))
        except _NOT_A_STORE:
            return
