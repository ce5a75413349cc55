"""Checkpoints: safetensors and a state file with their sha256, published by one rename.

``last`` is the newest, ``previous`` the one before it, ``best`` the weights of
the best epoch. A checkpoint is staged under a name that starts with a dot,
synced, and renamed to ``NAME-next``, which therefore is always whole; from
there it takes its place in steps that a killed process leaves unfinished and
`settle` finishes.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from crossan.cache_schema.errors import IncompatibleError, StoreIntegrityError
from crossan.common.console import note
from crossan.common.files import fsync_folder, write_durably

__all__ = [
    "BEST",
    "NEWEST",
    "Checkpoint",
    "load_checkpoint",
    "load_newest",
    "load_weights",
    "optimiser_tensors",
    "restore_optimiser",
    "save_checkpoint",
    "settle",
]

NEWEST, BEST = "last", "best"
_PREVIOUS = "previous"
_STATE = "state.json"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Tensors by file and name, and the plain state beside them."""

    tensors: Mapping[str, Mapping[str, Tensor]]
    state: Mapping[str, Any]
    sha256: Mapping[str, str] = field(default_factory=dict)
    """Digest of each file, of one that was loaded."""


def save_checkpoint(folder: Path, name: str, checkpoint: Checkpoint) -> None:
    """Write ``folder/name`` so that a crash at any moment leaves the old one or the new one, whole.

    The one before the newest ``last`` stays as ``previous``. Only one process
    may write into a folder.
    """
    settle(folder)
    staged = folder / f".{name}-{os.getpid()}"
    staged.mkdir(parents=True)
    digests = {}
    for file, tensors in checkpoint.tensors.items():
        data = save({key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()})
        write_durably(staged / f"{file}.safetensors", data)
        digests[f"{file}.safetensors"] = hashlib.sha256(data).hexdigest()
    write_durably(staged / _STATE, _encode_state({"sha256": digests, **checkpoint.state}))
    fsync_folder(staged)
    staged.rename(folder / f"{name}-next")
    fsync_folder(folder)
    settle(folder)


def settle(folder: Path) -> None:
    """Finish what a killed process left between two renames, and remove what it had not finished writing."""
    for staged in (*folder.glob(f".{NEWEST}-*"), *folder.glob(f".{BEST}-*")):
        shutil.rmtree(staged)
    for name in (NEWEST, BEST):
        coming, target = folder / f"{name}-next", folder / name
        if not coming.is_dir():
            continue
        retired = (
            folder / f".{name}-retired"
        )  # not removed in its place: half a checkpoint never has a whole one's name
        leaving = folder / _PREVIOUS if name == NEWEST and target.exists() else target
        if leaving.exists():
            leaving.rename(retired)
        if leaving != target:
            target.rename(leaving)
        coming.rename(target)
        fsync_folder(folder)
        shutil.rmtree(retired, ignore_errors=True)


def load_checkpoint(folder: Path, name: str) -> Checkpoint:
    """Read ``folder/name`` and check every byte against the recorded sha256.

    Raises
    ------
    StoreIntegrityError
        A file is missing or is not the one that was written.
    """
    while True:
        seen = _inode(_place(folder, name))
        try:
            return _read(_place(folder, name))
        except StoreIntegrityError:
            if _inode(_place(folder, name)) == seen:
                raise  # otherwise a training put a newer one in its place meanwhile


def load_newest(folder: Path) -> Checkpoint | None:
    """Read ``last``, or ``previous`` where that is damaged, saying so; None where neither is whole."""
    present = [name for name in (NEWEST, _PREVIOUS) if (folder / name).exists()]
    if present == [_PREVIOUS]:
        note(
            f"checkpoint {NEWEST} is gone, going back one: expected {folder / NEWEST}, found nothing there"
        )
    for name in present:
        try:
            return load_checkpoint(folder, name)
        except StoreIntegrityError as error:
            following = (
                "going back one"
                if name != present[-1]
                else "and there is no earlier one: training begins anew"
            )
            note(f"checkpoint {name} cannot be used, {following}: {error.message}")
    return None


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Put named weights into a model of the same shape.

    Parameters
    ----------
    model
        Where they go.
    weights
        What `Checkpoint.tensors` holds under ``"model"``.
    source
        Where they come from, for the error.

    Raises
    ------
    IncompatibleError
        Their names or shapes are not the model's.
    """
    there = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    here = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    odd = sorted(name for name in there.keys() | here.keys() if there.get(name) != here.get(name))
    if odd:
        listed = "\n  ".join(
            f"{name}: {there.get(name, 'none')} there, {here.get(name, 'none')} here"
            for name in odd[:5]
        )
        raise IncompatibleError(
            f"{source}: its weights do not fit this model, {len(odd):,} of {len(here):,} differ\n  {listed}"
        )
    model.load_state_dict(dict(weights))


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the optimiser's state as named tensors, ``<parameter number>.<what>``."""
    state = optimiser.state_dict()["state"]
    return {
        f"{number}.{what}": torch.as_tensor(value)
        for number, entry in state.items()
        for what, value in entry.items()
    }


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put named tensors of `optimiser_tensors` back."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        number, _, what = name.partition(".")
        state.setdefault(int(number), {})[what] = tensor
    optimiser.load_state_dict(
        {"state": state, "param_groups": optimiser.state_dict()["param_groups"]}
    )


def _place(folder: Path, name: str) -> Path:
    """Return where a checkpoint lies; between two renames that is not yet under its name."""
    return folder / name if (folder / name).exists() else folder / f"{name}-next"


def _inode(place: Path) -> int | None:
    try:
        return place.stat().st_ino
    except FileNotFoundError:
        return None


def _read(place: Path) -> Checkpoint:
    try:
        state = _decode_state((place / _STATE).read_bytes(), place)
        digests = state.pop("sha256")
        contents = {file: (place / file).read_bytes() for file in digests}
    except OSError as error:
        raise StoreIntegrityError(f"{place}: not a whole checkpoint: {error!r}") from None
    for file, digest in digests.items():
        if hashlib.sha256(contents[file]).hexdigest() != digest:
            raise StoreIntegrityError(f"{place / file}: its bytes are not those that were written")
    tensors = {file.removesuffix(".safetensors"): load(data) for file, data in contents.items()}
    return Checkpoint(tensors, state, digests)


def _encode_state(state: Mapping[str, Any]) -> bytes:
    """Return the one text of a state that carries its own digest: no other bytes say the same."""
    body = json.dumps(state, indent=2).encode()
    return json.dumps({"digest": hashlib.sha256(body).hexdigest(), **state}, indent=2).encode()


def _decode_state(data: bytes, place: Path) -> dict[str, Any]:
    """Return what `_encode_state` was given, and refuse every other byte sequence."""
    try:
        state = json.loads(data)
        is_whole = isinstance(state, dict) and "digest" in state
    except (ValueError, RecursionError):
        is_whole = False
    if is_whole:
        del state["digest"]
        is_whole = _encode_state(state) == data
    if not is_whole or not isinstance(state.get("sha256"), dict):
        raise StoreIntegrityError(
            f"{place}: not a whole checkpoint: {_STATE} is not the one that was written"
        )
    return state  # type: ignore[no-any-return]
