"""Thousands of broken files and hostile titles through the real command: every one accounted for, nothing else touched.

``CROSSAN_FAULTS=full`` breaks 1,000 files of each kind and takes 1,000 titles,
otherwise 15 and 60. Hand-made files, traps and whole files come on top.
"""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from crossan.common.stores import fsck, open_store
from crossan.extract.media import MediaFault
from support.counts import IS_FULL
from support.extraction import write_items
from support.hostile.crafted import crafted_files, traps
from support.hostile.mutations import mutated
from support.hostile.sources import COLUMNS, KINDS, SUFFIXES, sources_of
from support.hostile.titles import hostile_titles
from support.processes import Watch, can_trace, read_trace, traced
from support.started import CEILING_S, PROGRAMS, start

pytestmark = pytest.mark.exhaustive  # tests/extract/media has the same files one by one

FILES_PER_KIND, TITLES = (1_000, 1_000) if IS_FULL else (15, 60)
REASONS = {fault.value for fault in MediaFault} | {"bad-value", "unusable-input", "unreadable"}
TREE_BYTES = 10 << 30
"""What the command and its processes may have together: 4 GiB for the item that each of two workers has in hand, and 2."""
HELD_S = 30
"""How long one process may have one item's file open."""


class Hostile:
    """A dataset folder full of harm, with what its traps point at."""

    def __init__(self, folder):
        self.folder, self.media, self.outside = folder, folder / "media", folder / "outside"
        self.media.mkdir()
        self.outside.mkdir()
        self.secret = self.outside / "secret.mp4"
        self.secret.write_bytes(sources_of("mp4")[0])
        self.server = socket.create_server(("127.0.0.1", 0))
        self.items = []
        sources = {kind: sources_of(kind) for kind in KINDS}
        for kind in KINDS:
            self._add_kind(kind, sources)
        for number, title in enumerate(hostile_titles(random.Random(3), TITLES)):
            self.items.append({"item_id": f"title-{number}", "title": title})
        self._add_paths()
        self.dataset = write_items(folder / "dataset", self.items)

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server.getsockname()[1]}"

    def _add_kind(self, kind, sources):
        strangers = [data for other in KINDS if other != kind for data in sources[other]]
        strangers += traps(self.secret, self.address).values()
        for number, data in enumerate(sources[kind]):
            self._add_file(kind, f"whole-{number}", data)
        for name, data in crafted_files(kind, is_slice=not IS_FULL).items():
            self._add_file(kind, f"crafted-{name}", data)
        for name, data in traps(self.secret, self.address).items():
            self._add_file(kind, f"trap-{name}", data)
        for number in range(FILES_PER_KIND):
            chance = random.Random(f"{kind} {number}")
            self._add_file(
                kind, f"broken-{number}", mutated(chance, kind, sources[kind], strangers)
            )

    def _add_file(self, kind, name, data):
        path = self.media / f"{kind}{len(self.items)}{SUFFIXES[kind]}"
        path.write_bytes(data)
        self.items.append({"item_id": f"{kind}-{name}", COLUMNS[kind]: str(path)})

    def _add_paths(self):
        """Add items whose path is the harm."""
        os.mkfifo(self.media / "fifo.mp4")
        (self.media / "folder.mp4").mkdir()
        (self.media / "loop.mp4").symlink_to("loop.mp4")
        names = [
            "fifo.mp4",
            "folder.mp4",
            "loop.mp4",
            "n" * 300,
            "n/" * 3_000,
            " ",
            "~",
            "é́",
        ]
        paths = [str(self.media / name) for name in names]
        paths += [
            f"{self.address}/a.mp4",
            f"file://{self.secret}",
            f"concat:{self.secret}",
            "pipe:0",
            "/dev/zero",
            "-i",
        ]
        for number, path in enumerate(paths):
            self.items.append(
                {"item_id": f"path-{number}", "image": path, "video": path, "audio": path}
            )


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    made = Hostile(tmp_path_factory.mktemp("hostile"))
    yield made
    made.server.close()


class Extracted:
    """What one run of the command left: stores by modality, and what the watch saw."""

    def __init__(self, hostile, tiny, folder, log):
        self.log = log
        self.cache, self.own = folder / "cache", folder / "own"
        self.own.mkdir()
        command = [
            PROGRAMS / "crossan-extract",
            "--modality",
            "all",
            "--dataset",
            hostile.dataset,
            "--cache",
            self.cache,
        ]
        command += ["--backbone", tiny, "--num-workers", "2", "--max-bad", "100%", "--json"]
        command = [str(part) for part in command]
        own = {name: str(self.own) for name in ("HOME", "XDG_CACHE_HOME", "TMPDIR", "HF_HOME")}
        begun = time.monotonic()
        with (folder / "stdout").open("wb") as stdout, (folder / "stderr").open("wb") as stderr:
            process = start(
                *(command if log is None else traced(command, log)),
                cwd=self.own,
                env={**os.environ, **own, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"},
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
            )
            with Watch(process.pid, hostile.media) as self.watch:
                exit_code = process.wait()
        self.seconds = time.monotonic() - begun
        self.said = (folder / "stderr").read_text(errors="replace")
        assert exit_code == 0, self.said[-5_000:]
        printed = json.loads((folder / "stdout").read_text().splitlines()[-1])
        self.stores = {store["modality"]: store["store"] for store in printed["stores"]}
        assert list(self.stores) == ["text", "image", "video", "audio"]


@pytest.fixture(scope="module")
def extracted(hostile, tiny_backbones, tmp_path_factory):
    """Run the command once, under strace where that can be had: it costs little, as only few calls are stopped."""
    folder = tmp_path_factory.mktemp("run")
    return Extracted(hostile, tiny_backbones, folder, folder / "trace" if can_trace() else None)


def outcomes(store):
    """Return status and typed reason of every item."""
    opened = open_store(store)
    reasons = [(reason or "").partition(": ")[0] for reason in opened.reasons]
    return {
        str(item_id): (str(status), reason)
        for item_id, status, reason in zip(opened.item_ids, opened.status, reasons, strict=True)
    }


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("modality", ["text", "image", "video", "audio"])
def test_every_item_is_accounted_for_with_its_reason(hostile, extracted, modality):
    found = outcomes(extracted.stores[modality])
    assert sorted(found) == sorted(item["item_id"] for item in hostile.items)
    untyped = {
        item: told
        for item, told in found.items()
        if told[0] == "quarantined" and told[1] not in REASONS
    }
    assert untyped == {}
    assert {status for status, _ in found.values()} <= {"ok", "absent", "missing", "quarantined"}
    assert {item for item, (status, _) in found.items() if status == "missing"} <= {
        item for item in found if item.startswith("path-")
    }
    assert fsck(extracted.stores[modality]).ok
    assert "Traceback" not in extracted.said
    print(modality, Counter(found.values()).most_common())


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", KINDS)
def test_whole_files_are_ok_and_traps_are_not(extracted, kind):
    found = outcomes(extracted.stores[COLUMNS[kind]])
    statuses = {item: told for item, told in found.items() if item.startswith(f"{kind}-")}
    for item, (status, reason) in statuses.items():
        if item.startswith(f"{kind}-whole-"):
            assert status == "ok", item
        if item.endswith("-trap-outside reference"):
            assert status != "ok", item
        elif item.startswith(f"{kind}-trap-"):
            assert (status, reason) == ("quarantined", "unknown-container"), item
    assert statuses[f"{kind}-crafted-empty"] == ("quarantined", "empty-file")
    broken = Counter(status for item, (status, _) in statuses.items() if "-broken-" in item)
    assert broken["quarantined"] >= FILES_PER_KIND // 5, "the mutations are expected to break files"
    assert broken["ok"] >= FILES_PER_KIND // 50, (
        "the mutations are expected to get past the first check"
    )


@pytest.mark.timeout(7200)
def test_every_title_with_a_visible_character_is_ok(hostile, extracted):
    found = outcomes(extracted.stores["text"])
    for item in hostile.items:
        title = item.get("title")
        assert found[item["item_id"]][0] == ("ok" if title and title.strip() else "absent"), repr(
            title
        )[:200]


@pytest.mark.timeout(7200)
def test_no_item_is_over_its_limits(extracted):
    watch = extracted.watch
    longest = watch.held_s.most_common(3)
    print(
        f"{extracted.seconds:.0f} s, tree {watch.tree_bytes >> 20} MiB, process {watch.process_bytes >> 20} MiB, {longest}"
    )
    assert longest, "the watch is expected to have seen files being decoded"
    assert longest[0][1] < HELD_S
    assert watch.tree_bytes < TREE_BYTES


@pytest.mark.timeout(7200)
def test_nothing_outside_the_dataset_is_opened_and_nothing_is_sent(
    hostile, tiny_backbones, extracted
):
    hostile.server.settimeout(0)
    with pytest.raises(BlockingIOError):
        hostile.server.accept()
    assert not list(extracted.own.rglob("pwned"))
    if extracted.log is None:
        pytest.skip(
            "strace is not installed, or may not trace here: which files are opened stays unchecked"
        )
    trace = read_trace(extracted.log)
    media = {
        item[column]
        for item in hostile.items
        for column in ("image", "video", "audio")
        if column in item
    }
    assert len(media & trace["opened"]) > len(media) // 2, "the trace is expected to show the media"
    allowed = [hostile.media, hostile.dataset, extracted.cache, extracted.own]
    allowed += [tiny_backbones, *_of_python()]
    assert {path for path in trace["opened"] if not _is_below(path, allowed)} == set()
    assert {path for path in trace["missed"] if _is_below(path, [hostile.outside])} == set()
    assert trace["network"] == []
    assert {Path(program).parent for program in trace["started"]} <= {
        PROGRAMS,
        Path(sys.executable).parent,
    }


SPY = """
import os, socket, subprocess, sys
secret, port = sys.argv[1], int(sys.argv[2])
os.symlink(secret, "link")
open("link").close()
os.chdir(os.path.dirname(secret))
for name in ("gone", "../gone"):
    try:
        open(name)
    except OSError:
        pass
socket.socketpair()
socket.create_connection(("127.0.0.1", port))
subprocess.run(["true"])
"""


def test_the_trace_shows_what_it_is_there_to_show(tmp_path):
    if not can_trace():
        pytest.skip("strace is not installed, or may not trace here")
    secret = tmp_path / "outside" / "secret"
    secret.parent.mkdir()
    secret.write_text("x")
    with socket.create_server(("127.0.0.1", 0)) as server:
        spy = [sys.executable, "-c", SPY, str(secret), str(server.getsockname()[1])]
        subprocess.run(traced(spy, tmp_path / "trace"), cwd=tmp_path, check=True, timeout=CEILING_S)
    trace = read_trace(tmp_path / "trace")
    assert str(secret) in trace["opened"]  # through the link
    assert {str(secret.parent / "gone"), str(tmp_path / "gone")} <= trace["missed"]
    assert [line.split("(")[0].split()[-1] for line in trace["network"]] == ["socket", "connect"]
    assert {Path(program).name for program in trace["started"]} == {
        Path(sys.executable).name,
        "true",
    }


def _of_python():
    """Return the folders that Python, the loader and the system's libraries live in."""
    system = [
        "/usr/lib",
        "/usr/local/lib",
        "/usr/share",
        "/lib",
        "/lib64",
        "/etc",
        "/proc",
        "/sys",
        "/dev",
    ]
    return [Path(path) for path in [*system, *filter(None, sys.path), sys.prefix, sys.base_prefix]]


def _is_below(path, folders):
    return any(Path(path).is_relative_to(folder) for folder in folders)
