"""Stores made to harm whoever opens them: refused, without running code, within 512 MiB and 5 s each.

An attacker can make every digest agree, so each change is followed by new
digests up the chain. ``CROSSAN_FAULTS=full`` tries 5,000.
"""

from __future__ import annotations

import io
import json
import os
import random
import resource
import shutil
import signal
import sys
import warnings
from pathlib import Path

import google_crc32c
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crossan.cache_schema.canonical import pretty_bytes
from crossan.cache_schema.errors import CrossanError
from crossan.common.stores import fsck, open_store
from support.json_mutations import spots
from support.redigest import redigest
from support.started import CEILING_S

STORES = 1_667 if os.environ.get("CROSSAN_FAULTS") == "full" else 40
"""Per kind of store, of which there are three."""
MEMORY, SECONDS = 512 * 2**20, 5
WORDS = [
    None, True, -1, 0, 1, 2**40, 2**63, 10**400, 1.5, "", "..", "/etc/passwd", "a/../b", "\0", [], {}, [[]] * 50, "x" * 70_000,
    {"id": "numcodecs.pickle"}, {"name": "sharding_indexed"}, "pickle", "NaN", [2**40, 2, 64],
]  # fmt: skip


def json_files(store):
    return [path for path in sorted(store.rglob("*.json")) if "staging" not in path.parts]


def put(value, path, new):
    for key in path[:-1]:
        value = value[key]
    value[path[-1]] = new


def change_json(chance, store):
    path = chance.choice(json_files(store))
    value = json.loads(path.read_text())
    where = chance.choice(list(spots(value)))
    put(value, where, chance.choice(WORDS))
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")
    if path.name == "segment.json" and chance.random() < 0.5:
        return  # keep the lie about sizes
    redigest(store)


def change_text(chance, store):
    path = chance.choice(json_files(store))
    path.write_text(
        chance.choice(
            [
                "[" * 1_000_000,
                '{"a": 1, "a": 2}',
                '{"schema_version": NaN}',
                "\ufeff{}",
                '{"schema_version": 1e999}',
                "null",
            ]
        )
    )
    redigest(store)


def change_array(chance, store):
    path = chance.choice(sorted(store.glob("segments/*/hidden_states/zarr.json")))
    value = json.loads(path.read_text())
    kind = chance.choice(["v2", "codec", "shards", "shape", "filters", "chunks"])
    if kind == "v2":
        value = {
            "zarr_format": 2,
            "shape": [2**40],
            "chunks": [1],
            "dtype": "|O",
            "filters": [{"id": "pickle"}],
            "compressor": None,
        }
    elif kind == "codec":
        value["codecs"] = [
            {
                "name": chance.choice(["pickle", "numcodecs.pickle", "gzip", "vlen-utf8"]),
                "configuration": {},
            }
        ]
    elif kind == "shards":
        value["codecs"] = [
            {"name": "sharding_indexed", "configuration": {"chunk_shape": [1, 1, 1]}}
        ]
    elif kind == "shape":
        value["shape"][chance.randrange(3)] = chance.choice([0, 2**31, 2**40, 2**62])
    elif kind == "filters":
        value["filters"] = [{"id": "pickle"}]
    else:
        value["chunk_grid"]["configuration"]["chunk_shape"][chance.randrange(3)] = chance.choice(
            [0, 1, 2**20, 2**40]
        )
    path.write_bytes(pretty_bytes(value))
    redigest(store)


def change_chunk(chance, store):
    """Put a frame that claims or holds far more than a chunk."""
    import numcodecs

    path = chance.choice(sorted(store.glob("segments/*/hidden_states/c/*/0/0")))
    zeros = bytes(chance.choice([2**20, 2**27]))
    payload = chance.choice(
        [
            bytes(numcodecs.Zstd().encode(zeros)),
            bytes(numcodecs.Blosc().encode(zeros)),
            b"\x28\xb5\x2f\xfd\xe0" + (2**60).to_bytes(8, "little"),
            b"",
            chance.randbytes(64),
        ]
    )
    path.write_bytes(payload + google_crc32c.value(payload).to_bytes(4, "little"))
    redigest(store)


def change_index(chance, store):
    path = chance.choice(sorted(store.glob("segments/*/items.parquet")))
    table = pq.ParquetFile(io.BytesIO(path.read_bytes())).read(use_threads=False)
    count = table.num_rows
    kind = chance.choice(
        ["column", "extra", "null", "repeat", "rows", "type", "bomb", "torn", "status"]
    )
    if kind == "column":
        table = table.drop_columns([chance.choice(table.column_names)])
    elif kind == "extra":
        table = table.append_column("more", pa.array([1] * count))
    elif kind == "null":
        table = table.set_column(0, "item_id", pa.array([None] * count, pa.string()))
    elif kind == "repeat":
        table = table.set_column(0, "item_id", pa.array(["same"] * count))
    elif kind == "rows":
        table = table.set_column(
            4, "row", pa.array([chance.choice([-5, 0, 2**40])] * count, pa.int64())
        )
    elif kind == "type":
        table = table.set_column(chance.randrange(5), "row", pa.array([{"a": 1}] * count))
    elif kind == "status":
        table = table.set_column(2, "status", pa.array(["ok"] * count))
    elif kind == "bomb":
        table = pa.table({name: pa.nulls(3 * 10**6, pa.string()) for name in table.column_names})
    out = io.BytesIO()
    pq.write_table(table, out)
    path.write_bytes(out.getvalue()[:-9] if kind == "torn" else out.getvalue())
    redigest(store)


def change_kind(chance, store):
    """Put a link, a folder or a pipe where a file or folder is."""
    path = chance.choice(
        [found for found in sorted(store.rglob("*")) if "staging" not in found.parts]
    )
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    kind = chance.choice(["link", "folder", "pipe"])
    if kind == "link":
        path.symlink_to("/etc" if chance.random() < 0.5 else "/dev/zero")
    elif kind == "folder":
        path.mkdir()
    else:
        os.mkfifo(path)


CHANGES = [
    change_json,
    change_json,
    change_json,
    change_text,
    change_array,
    change_chunk,
    change_index,
    change_kind,
]


def watched(store):
    """Let nothing but reading the store happen from here on."""
    harmless = (
        str(store),
        sys.prefix,
        sys.base_prefix,
        "/proc/self",
        "/dev/null",
        str(Path(__file__).parents[2]),
    )

    def hook(event, arguments):
        if event in {
            "subprocess.Popen",
            "os.exec",
            "os.system",
            "socket.connect",
            "pickle.find_class",
            "ctypes.cdata",
        }:
            os._exit(77)
        if (
            event == "open"
            and isinstance(arguments[0], str)
            and not arguments[0].startswith(harmless)
        ):
            os._exit(78)
        if event in {"os.rename", "os.remove", "os.mkdir", "os.link", "os.symlink"}:
            os._exit(79)

    sys.addaudithook(hook)


def visit(store):
    """Open, load and check a store in this process; return whether only our own errors came of it."""
    for look in (lambda: open_store(store).load(), lambda: fsck(store)):
        try:
            look()
        except CrossanError:
            pass
        except BaseException as error:  # noqa: BLE001 - whatever it is, the parent must know
            os.write(2, f"{error!r}\n".encode())  # a traceback would open source files
            return 1
    return 0


def outcome(store):
    """Visit a store in a child with a limit on memory and time; return its exit status."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
        # Of computing, as a busy machine gives it little of that a second.
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        signal.alarm(CEILING_S)
        watched(store)
        os._exit(visit(store))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.timeout(7200)
def test_hostile_stores_are_refused(sample, tmp_path):
    assert visit(sample) == 0  # everything is imported before the first child
    fsck(sample)
    for number in range(STORES):
        chance = random.Random(number)
        store = tmp_path / "hostile"
        shutil.copytree(sample, store)
        change = chance.choice(CHANGES)
        change(chance, store)
        assert outcome(store) == 0, (number, change.__name__)
        shutil.rmtree(store)
