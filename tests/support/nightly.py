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
    parent, segments = None, ()
    for version in range(1, count + 1):
        segments = (*segments, SegmentEntry(f"20261127T000000-{version:016x}", f"{version:064x}"))
        manifest = Manifest(
            version=version,
            parent=parent,
            store_sha256="0" * 64,
            canary_sha256="1" * 64,
            segments=segments,
        )
        parent = manifest.digest
        path = folder / "versions" / version_name(version)
        if not path.exists():
            path.write_bytes(pretty_bytes(manifest.to_dict()))
    return folder
