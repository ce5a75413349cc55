"""Datasets and stores that are nothing but their records, for tests of what watches them."""

from __future__ import annotations

import hashlib
import json

from crossan.cache_schema import Manifest, Modality, SegmentEntry, StoreIdentity, pretty_bytes
from crossan.cache_schema.folder_names import folder_name
from crossan.cache_schema.manifest import version_name
from crossan.train.service.settings import ServiceSettings


def make_settings(folder, **more):
    """Settings of a service whose roots, cache and inbox lie in a folder."""
    for name in ("roots", "cache", "inbox"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    return ServiceSettings(
        **{
            "roots": (str(folder / "roots"),),
            "cache": str(folder / "cache"),
            "inbox": str(folder / "inbox"),
            "debounce_seconds": 60.0,
            **more,
        }
    )


def write_description(folder, *, name="shop", interactions=100, content="first"):
    """Write dataset.json as the dataset would have it with this content."""
    folder.mkdir(parents=True, exist_ok=True)
    description = {
        "format_version": 1,
        "name": name,
        "source_format": "test",
        "licence": "none",
        "counts": {"users": 10, "items": 20, "interactions": interactions},
        "digest": hashlib.sha256(f"{content} {interactions}".encode()).hexdigest(),
    }
    (folder / "dataset.json").write_text(json.dumps(description))


def identity_of(modality=Modality.TEXT, backbone="tiny"):
    return StoreIdentity(
        modality=modality,
        backbone={"id": backbone},
        inputs={},
        capture={"layers": [0, 1], "pooling": "cls"},
        dim=8,
    )


def write_store_versions(cache, count, *, dataset="shop", modality=Modality.TEXT, backbone="tiny"):
    """Give a store manifests up to version ``count``, those that it lacks; return its folder."""
    identity = identity_of(modality, backbone)
    name = f"{backbone}-{identity.fingerprint[:12]}"
    folder = cache / folder_name(dataset) / modality.value / name
    (folder / "versions").mkdir(parents=True, exist_ok=True)
    (folder / "store.json").write_bytes(pretty_bytes(identity.to_dict()))
    written = sorted(path.name for path in (folder / "versions").iterdir())
    newest = json.loads((folder / "versions" / written[-1]).read_bytes()) if written else {}
    parent = newest.get("digest")
    for version in range(len(written) + 1, count + 1):
        manifest = Manifest(
            version=version,
            parent=parent,
            store_sha256="0" * 64,
            canary_sha256="1" * 64,
            segments=(SegmentEntry(f"20261127T000000-{version:016x}", f"{version:064x}"),),
        )
        parent = manifest.digest
        (folder / "versions" / version_name(version)).write_bytes(pretty_bytes(manifest.to_dict()))
    return folder


class Clock:
    """A clock that tests set."""

    def __init__(self, now=1_790_000_000.0):
        self.now = now

    def __call__(self):
        return self.now


class Office:
    """Nights on a database of their own, whose runs end as a test says."""

    def __init__(self, folder, **settings):
        from crossan.train.service.database import Database
        from crossan.train.service.folder import ServiceFolder
        from crossan.train.service.nights.nights import Nights
        from crossan.train.service.registry import Registry

        self.path = folder
        self.settings = make_settings(folder, **settings)
        self.folder = ServiceFolder(folder / "data")
        self.folder.path.mkdir(exist_ok=True)
        self.clock = Clock()
        self.database = Database(self.folder.database)
        self.registry = Registry(self.database, self.folder, self.clock)
        self.woken = 0
        self.nights = Nights(
            self.database, self.folder, self.registry, self.settings, self.clock, self._wake
        )

    def _wake(self):
        self.woken += 1

    def close(self):
        self.database.close()

    def tick_after(self, seconds):
        """Look at the triggers some time later."""
        self.clock.now += seconds
        return self.nights.tick()

    def end_run(self, run, state, reason="", result=None):
        """End a run as the queue does; return its row."""
        from crossan.train.service.queue.rows import get_run

        def write(connection):
            connection.execute(
                "UPDATE runs SET state = ?, reason = ?, result = ?, ended = ? WHERE id = ?",
                (state, reason, result and json.dumps(result), self.clock(), run.id),
            )
            ended = get_run(connection, run.id)
            self.nights.listener(connection, ended)
            return ended

        return self.database.write(write)

    def end_night(self, night, results=None, state="succeeded"):
        """End the runs of a night that go on, each with the result of its step."""
        for run in self.nights.runs_of(night.id):
            if run.ended is None:
                self.end_run(run, state, result=(results or {}).get(run.step.value))
        return self.nights.get(night.id)

    def train(self, night):
        """Do what the plan of a night's training does: note what it trains on."""
        from crossan.train.service.nights.chains import note_input, spec_of
        from crossan.train.service.nights.inputs import input_of, rebase_logs

        spec = spec_of(self.nights.runs_of(night.id)[0])
        seen = input_of(spec, self.settings)

        def write(connection):
            note_input(connection, night.id, seen.fingerprint)
            rebase_logs(connection, spec.dataset, seen.interactions)

        self.database.write(write)
