"""The folder of an export."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors.torch
import torch
from torch import Tensor

from crossan.cache_schema.errors import UsageError
from crossan.common.datasets.protocol import sequences_digest
from crossan.common.files import fsync_folder, write_durably
from crossan.common.kinds_of_files import what_lies_at
from crossan.common.outputs import require_outside_of_ours
from crossan.common.refusals import blaming, make_folder
from crossan.common.stores.describing.licences import licences_of
from crossan.train.export.page import readme
from crossan.train.export.program import program_bytes
from crossan.train.runs.opening import OpenedRun
from crossan.train.runs.vectors import item_vectors, require_sequence_model

__all__ = ["FORMAT_VERSION", "export_run", "require_vacant"]

FORMAT_VERSION = 1
"""Raised where a program that reads an export of before would misread one of now."""


def export_run(run: OpenedRun, out: Path, cache: Path | None = None) -> dict[str, Any]:
    """Write item vectors and user encoder of a run to a new folder, and return its manifest.

    The folder appears whole or not at all.

    Parameters
    ----------
    run
        The run, on the CPU.
    out
        The folder, which must be empty or not there.
    cache
        Where the run's stores lie now, if not where they were: their licences are recorded.

    Raises
    ------
    UsageError
        The folder is not empty, or the model makes no vectors of histories.
    ResourceError
        The system refuses to write.
    """
    require_vacant(out)
    encoder = require_sequence_model(run).sequence_encoder.float()
    vectors = item_vectors(run).float().contiguous()
    length = run.settings.data.input_length
    weights = {name: tensor.contiguous() for name, tensor in encoder.state_dict().items()}
    files = {
        "items.parquet": _parquet(run, vectors),
        "items.safetensors": safetensors.torch.save({"vectors": vectors}),
        "user_encoder.pt2": program_bytes(encoder, length, vectors.shape[1]),
        "user_encoder.safetensors": safetensors.torch.save(weights),
    }
    manifest = _manifest(run, vectors, files, cache)
    files["manifest.json"] = (json.dumps(manifest, indent=2) + "\n").encode()
    files["README.md"] = readme(manifest).encode()
    _write(out, files)
    return manifest


def require_vacant(out: Path) -> None:
    """Refuse a folder in which something lies.

    Raises
    ------
    UsageError
        It is not empty, is no folder, or lies in a store, dataset, run or sweep.
    """
    shown_as = f"--out {out}"
    require_outside_of_ours(out, shown_as)
    if not os.path.lexists(out) or (out.is_dir() and not any(out.iterdir())):
        return
    lies_there = "files in it" if out.is_dir() else what_lies_at(out)
    raise UsageError(
        f"{shown_as}: expected an empty folder or nothing there, found {lies_there}",
        remedy=f"Choose another: --out {out}-2",
    )


def _parquet(run: OpenedRun, vectors: Tensor) -> memoryview:
    items = run.dataset.items()
    ids, titles = (items.column(name).to_pylist() for name in ("item_id", "title"))
    title_of = dict(zip(ids, titles, strict=True))
    catalogue = run.kept.item_ids.tolist()
    flat = pa.array(np.ascontiguousarray(vectors.cpu().numpy()).reshape(-1), pa.float32())
    table = pa.table(
        {
            "item_id": pa.array(catalogue, pa.string()),
            "title": pa.array([title_of.get(item) for item in catalogue], pa.string()),
            "vector": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]),
        }
    )
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer)
    return memoryview(buffer.getvalue())


def _manifest(
    run: OpenedRun,
    vectors: Tensor,
    files: Mapping[str, bytes | memoryview],
    cache: Path | None,
) -> dict[str, Any]:
    stores = run.folder.locked_stores(cache) or {}
    return {
        "format": "crossan-export",
        "format_version": FORMAT_VERSION,
        "crossan": version("crossan"),
        "torch": torch.__version__,
        "model": run.settings.model.kind,
        "items": len(vectors),
        "width": vectors.shape[1],
        "input_length": run.settings.data.input_length,
        "padding": -1,
        "score": "user vector times item vector",
        "dataset": {
            "name": run.dataset.name,
            "licence": run.dataset.licence,
            "digest": run.dataset.digest,
            "sequences": sequences_digest(run.kept),
        },
        "stores": {
            modality.value: {
                "backbone": store.identity.backbone.get("id"),
                "fingerprint": store.fingerprint,
                "version": store.version,
                "licences": licences_of(store.path),
            }
            for modality, store in stores.items()
        },
        "files": {
            name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in files.items()
        },
    }


def _write(out: Path, files: Mapping[str, bytes | memoryview]) -> None:
    out = out.absolute()
    make_folder(out.parent)
    temporary = out.with_name(f".{out.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        make_folder(temporary)
        for name, content in files.items():
            write_durably(temporary / name, content, shown_as=out / name)
        fsync_folder(temporary)
        with blaming(out):
            # Takes the place of an empty folder, and of nothing else.
            temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    fsync_folder(out.parent)
