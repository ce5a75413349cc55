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
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors.torch
import torch
from torch import Tensor, nn

from crossan.cache_schema.errors import UsageError
from crossan.common.datasets.protocol import sequences_digest
from crossan.common.files import fsync_folder, write_durably
from crossan.common.kinds_of_files import what_lies_at
from crossan.common.outputs import require_outside_of_ours
from crossan.common.refusals import blaming, make_folder
from crossan.common.stores.describing.licences import licences_of
from crossan.train.evaluation.encoding import encode_items
from crossan.train.export.hybrid import (
    HybridUserEncoder,
    chain_bytes,
    chain_facts,
    length_read,
    term_facts,
)
from crossan.train.export.page import readme
from crossan.train.export.program import UserEncoder, program_bytes
from crossan.train.models.hybrid_of_runs import HybridOfRuns
from crossan.train.runs.opening import OpenedRun
from crossan.train.runs.vectors import item_vectors, require_sequence_model
from crossan.train.settings import HybridOfRunsSettings, ModelSettings, SequenceSettings

__all__ = ["FORMAT_VERSION", "export_run", "require_vacant"]

FORMAT_VERSION = 1
"""Raised where a program that reads an export of before would misread one of now."""

_FORM = ("blocks", "heads", "activation", "norm", "positions", "scores")
"""Settings of a model that say how its sequence encoder reads its weights."""


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
    exported = _exported(run)
    vectors, length = exported.vectors, exported.length
    weights = {name: tensor.contiguous() for name, tensor in exported.weights.items()}
    files: dict[str, bytes | memoryview] = {
        "items.parquet": _parquet(run, vectors),
        "items.safetensors": safetensors.torch.save({"vectors": vectors}),
        "user_encoder.pt2": program_bytes(exported.program, length, vectors.shape[1]),
        "user_encoder.safetensors": safetensors.torch.save(weights),
    }
    if isinstance(run.model, HybridOfRuns):
        files["chain.safetensors"] = chain_bytes(run.model)
    manifest = _manifest(run, exported, files, cache)
    files["manifest.json"] = (json.dumps(manifest, indent=2) + "\n").encode()
    files["README.md"] = readme(manifest).encode()
    _write(out, files)
    return manifest


class _Exported(NamedTuple):
    """What an export is of."""

    program: nn.Module
    """From the rows of items to user vectors."""
    weights: Mapping[str, Tensor]
    vectors: Tensor
    """Of the catalogue, ``(items, width)`` float32."""
    length: int
    """Items of a history that the program reads."""


def _exported(run: OpenedRun) -> _Exported:
    length = run.settings.data.input_length
    if isinstance(run.model, HybridOfRuns):
        vectors = encode_items(run.model, run.features).float().contiguous()
        program = HybridUserEncoder(run.model.float(), length, vectors)
        return _Exported(program, program.state_dict(), vectors, length_read(run.model, length))
    encoder = require_sequence_model(run).sequence_encoder.float()
    vectors = item_vectors(run).float().contiguous()
    return _Exported(UserEncoder(encoder), encoder.state_dict(), vectors, length)


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
    exported: _Exported,
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
        "items": len(exported.vectors),
        "width": exported.vectors.shape[1],
        "input_length": exported.length,
        "padding": -1,
        "encoders": _encoders(run.settings.model),
        **_score(run),
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


def _score(run: OpenedRun) -> dict[str, Any]:
    """Return what the manifest says of how an item is scored."""
    if not isinstance(run.model, HybridOfRuns):
        return {"score": "user vector times item vector"}
    return {
        "score": "user vector times item vector, plus log(1 + co_occurrence times chain)",
        "chain": chain_facts(run.model),
        "terms": term_facts(run.model),
    }


def _encoders(model: ModelSettings) -> list[dict[str, Any]]:
    """Return how each sequence encoder is composed, without which its weights mean nothing."""
    models = (
        [base.model for base in model.of] if isinstance(model, HybridOfRunsSettings) else [model]
    )
    return [
        {name: getattr(one, name) for name in _FORM}
        for one in models
        if isinstance(one, SequenceSettings)
    ]


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
