"""Checkpoints: safetensors and a state file with their sha256, written beside and renamed into place."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from crossan.cache_schema.errors import StoreIntegrityError
from crossan.common.console import note

__all__ = [
    "Checkpoint",
    "load_checkpoint",
    "load_newest",
    "optimiser_tensors",
    "restore_optimiser",
    "save_checkpoint",
]

_NEWEST, _PREVIOUS = "last", "previous"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Tensors by file and name, and the plain state beside them."""

    tensors: Mapping[str, Mapping[str, Tensor]]
    state: Mapping[str, Any]


def save_checkpoint(folder: Path, name: str, checkpoint: Checkpoint) -> None:
    """Write ``folder/name`` so that a crash leaves the old one or the new one, whole.

    The one before the newest ``last`` stays as ``previous``.
    """
    staged = folder / f".{name}-{os.getpid()}"
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    digests = {}
    for file, tensors in checkpoint.tensors.items():
        data = save({key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()})
        _write(staged / f"{file}.safetensors", data)
        digests[f"{file}.safetensors"] = hashlib.sha256(data).hexdigest()
    state = json.dumps({"sha256": digests, **checkpoint.state}, indent=2, sort_keys=True)
    _write(staged / "state.json", state.encode())
    target = folder / name
    if name == _NEWEST and target.exists():
        shutil.rmtree(folder / _PREVIOUS, ignore_errors=True)
        target.rename(folder / _PREVIOUS)
    shutil.rmtree(target, ignore_errors=True)
    staged.rename(target)


def load_checkpoint(folder: Path, name: str) -> Checkpoint:
    """Read ``folder/name`` and check every file against its recorded sha256.

    Raises
    ------
    StoreIntegrityError
        A file is missing or is not the one that was written.
    """
    place = folder / name
    try:
        state = json.loads((place / "state.json").read_text(encoding="utf-8"))
        tensors = {}
        for file, digest in state.pop("sha256").items():
            data = (place / file).read_bytes()
            if hashlib.sha256(data).hexdigest() != digest:
                raise StoreIntegrityError(f"{place / file}: its bytes are not those that were written")
            tensors[file.removesuffix(".safetensors")] = load(data)
    except (FileNotFoundError, json.JSONDecodeError, KeyError, AttributeError, UnicodeDecodeError) as error:
        raise StoreIntegrityError(f"{place}: not a whole checkpoint: {error!r}") from None
    return Checkpoint(tensors, state)


def load_newest(folder: Path) -> Checkpoint | None:
    """Read ``last``, or ``previous`` where that is damaged, saying so; None where neither is whole."""
    for name in (_NEWEST, _PREVIOUS):
        if not (folder / name).is_dir():
            continue
        try:
            return load_checkpoint(folder, name)
        except StoreIntegrityError as error:
            note(f"checkpoint {name} cannot be used, going back one: {error.message}")
    return None


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the optimiser's state as named tensors, ``<parameter number>.<what>``."""
    state = optimiser.state_dict()["state"]
    return {
        f"{number}.{what}": torch.as_tensor(value) for number, entry in state.items() for what, value in entry.items()
    }


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put named tensors of `optimiser_tensors` back."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        number, _, what = name.partition(".")
        state.setdefault(int(number), {})[what] = tensor
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
