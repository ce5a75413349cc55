"""Checkpoints, each a folder of safetensors and a state file that records their sha256.

``last`` is the newest, ``previous`` the one before it, ``best`` the weights of
the best epoch, ``epoch-12`` those of another that is kept. Writing a checkpoint takes three steps:

1. It is written under a name that starts with a dot, and synced to disk.
2. One rename publishes it as ``NAME-next``, which is therefore always whole.
3. More renames move it to ``NAME``. A process that is killed between two of
   them leaves this step unfinished, and `settle` finishes it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from crossan.cache_schema.errors import IncompatibleError, StoreIntegrityError
from crossan.common.console import note
from crossan.common.files import fsync_folder, move, write_durably
from crossan.common.foreign import read_bounded
from crossan.common.refusals import blaming, make_folder

__all__ = [
    "BEST",
    "EPOCH",
    "NEWEST",
    "Checkpoint",
    "load_checkpoint",
    "load_newest",
    "load_weights",
    "save_checkpoint",
    "settle",
]

NEWEST, BEST = "last", "best"
_PREVIOUS = "previous"
EPOCH = re.compile(r"epoch-([1-9][0-9]{0,8})")
"""Name of the checkpoint of an epoch that is kept (`crossan.train.record.kept_epochs`)."""
_STAGED = re.compile(rf"\.({NEWEST}|{BEST}|{EPOCH.pattern})-([0-9]+|retired)")
_COMING = re.compile(rf"({NEWEST}|{BEST}|{EPOCH.pattern})-next")
_STATE_FILE = "state.json"
_TENSOR_FILE = re.compile(r"[a-z_]+\.safetensors")
_LARGEST_TENSORS = 2**40
"""Bytes; the memory is the bound."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Tensors by file and name, and the plain state beside them.

    One that was loaded has ``"model"`` at least.
    """

    tensors: Mapping[str, Mapping[str, Tensor]]
    state: Mapping[str, Any]
    sha256: Mapping[str, str] = field(default_factory=dict)
    """Digest of each file, for a checkpoint that was loaded."""


def save_checkpoint(folder: Path, name: str, checkpoint: Checkpoint) -> None:
    """Write ``folder/name`` so that a crash at any moment leaves the old one or the new one, whole.

    The one before the newest ``last`` stays as ``previous``. Only one process
    may write into a folder.
    """
    settle(folder)
    staged = folder / f".{name}-{os.getpid()}"
    make_folder(staged)
    digests = {}
    for file, tensors in checkpoint.tensors.items():
        data = save({key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()})
        write_durably(staged / f"{file}.safetensors", data)
        digests[f"{file}.safetensors"] = hashlib.sha256(data).hexdigest()
    write_durably(staged / _STATE_FILE, _encode_state({"sha256": digests, **checkpoint.state}))
    # The names of the files must be on disk before the folder gets its name, and that name before
    # the old checkpoint is moved: a power cut may otherwise keep the later step and lose the first.
    fsync_folder(staged)
    move(staged, folder / f"{name}-next")
    fsync_folder(folder)
    settle(folder)


def settle(folder: Path) -> None:
    """Finish the renames that a killed process left undone.

    What it had not finished writing is removed.
    """
    entries = sorted(folder.iterdir()) if folder.is_dir() else []
    for entry in entries:
        if _STAGED.fullmatch(entry.name):
            with blaming(entry):
                shutil.rmtree(entry)
    for entry in entries:
        coming = _COMING.fullmatch(entry.name)
        if coming is not None and entry.is_dir():
            _publish(folder, coming[1])


def _publish(folder: Path, name: str) -> None:
    """Move ``NAME-next`` to ``NAME``, keeping the old ``last`` as ``previous``.

    Wherever this is interrupted, ``NAME-next`` is still there, and the next call
    goes on from what it finds.
    """
    coming, target = folder / f"{name}-next", folder / name
    # Where `last` was already moved by an interrupted call, `previous` must not be moved out.
    keeps_old = name == NEWEST and target.exists()
    leaving = folder / _PREVIOUS if keeps_old else target
    # Renamed before it is removed: half a checkpoint must never have the name of a whole one.
    retired = folder / f".{name}-retired"
    if leaving.exists():
        move(leaving, retired)
    if keeps_old:
        move(target, leaving)
    move(coming, target)
    fsync_folder(folder)
    shutil.rmtree(retired, ignore_errors=True)


def load_checkpoint(folder: Path, name: str) -> Checkpoint:
    """Read ``folder/name`` and check every byte against the recorded sha256.

    Raises
    ------
    StoreIntegrityError
        A file is missing or is not the one that was written.
    ResourceError
        The system refuses to read one.
    """
    while True:
        inode = _inode(_current_path(folder, name))
        try:
            return _read(_current_path(folder, name))
        except StoreIntegrityError:
            # A training may publish a newer checkpoint while its files are read one by one. Then
            # the folder is another one, and reading again succeeds; the same folder is damaged.
            if _inode(_current_path(folder, name)) == inode:
                raise


def load_newest(folder: Path) -> Checkpoint | None:
    """Read ``last``, or print why it cannot be used and read ``previous``.

    None where neither is whole.
    """
    present = [name for name in (NEWEST, _PREVIOUS) if (folder / name).exists()]
    if present == [_PREVIOUS]:
        note(
            f"checkpoint {NEWEST} is missing, going back to the one before:"
            f" expected {folder / NEWEST}, found nothing"
        )
    for name in present:
        try:
            return load_checkpoint(folder, name)
        except StoreIntegrityError as error:
            if name == present[-1]:
                consequence = "and there is no earlier one, so training begins anew"
            else:
                consequence = "going back to the one before"
            note(f"checkpoint {name} cannot be used, {consequence}: {error.message}")
    return None


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Put named weights into a model of the same shape.

    Parameters
    ----------
    model
        The model that receives them.
    weights
        What `Checkpoint.tensors` holds under ``"model"``.
    source
        Where they come from, for the error.

    Raises
    ------
    IncompatibleError
        Their names or shapes are not those of the model.
    StoreIntegrityError
        A weight is NaN or infinite, so that no score would mean anything.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    given = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    odd = sorted(
        name for name in given.keys() | expected.keys() if given.get(name) != expected.get(name)
    )
    if odd:
        listed = "\n  ".join(
            f"{name}: expected {expected.get(name, 'none')}, found {given.get(name, 'none')}"
            for name in odd[:5]
        )
        raise IncompatibleError(
            f"{source}: its weights do not fit this model,"
            f" {len(odd):,} of {len(expected):,} differ\n  {listed}"
        )
    broken = [name for name, tensor in weights.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise StoreIntegrityError(
            f"{source}: {len(broken):,} of {len(weights):,} weights are NaN or infinite,"
            f" first: {broken[0]}"
        )
    model.load_state_dict(dict(weights))


def _current_path(folder: Path, name: str) -> Path:
    """Return the path of a checkpoint, which between two renames is still ``NAME-next``."""
    return folder / name if (folder / name).exists() else folder / f"{name}-next"


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def _read(path: Path) -> Checkpoint:
    try:
        state = _decode_state(read_bounded(path / _STATE_FILE, StoreIntegrityError), path)
        digests = state.pop("sha256")
        tensors = {
            file.removesuffix(".safetensors"): _read_tensors(path, file, digest)
            for file, digest in digests.items()
        }
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StoreIntegrityError(f"{path}: not a whole checkpoint: {error!r}") from None
    if "model" not in tensors:
        raise StoreIntegrityError(f"{path}: not a whole checkpoint: expected model.safetensors")
    return Checkpoint(tensors, state, digests)


def _read_tensors(folder: Path, file: str, digest: object) -> dict[str, Tensor]:
    # The state comes with the checkpoint, which may be anybody's: no name leads out of its folder.
    if not _TENSOR_FILE.fullmatch(file):
        raise StoreIntegrityError(
            f"{folder / _STATE_FILE}: expected names of files beside it, found {file!r:.100}"
        )
    path = folder / file
    data = read_bounded(path, StoreIntegrityError, _LARGEST_TENSORS)
    if hashlib.sha256(data).hexdigest() != digest:
        raise StoreIntegrityError(f"{path}: its bytes are not those that were written")
    try:
        tensors: dict[str, Tensor] = load(data)
    except (SafetensorError, KeyError, ValueError) as error:
        raise StoreIntegrityError(f"{path}: expected tensors: {error}") from None
    return tensors


def _encode_state(state: Mapping[str, Any]) -> bytes:
    """Return a state as JSON text that carries the digest of the rest of the text."""
    body = json.dumps(state, indent=2).encode()
    return json.dumps({"digest": hashlib.sha256(body).hexdigest(), **state}, indent=2).encode()


def _decode_state(data: bytes, path: Path) -> dict[str, Any]:
    """Return the state that `_encode_state` was given, and refuse all other bytes."""
    try:
        state = json.loads(data)
        is_whole = isinstance(state, dict) and "digest" in state
    except (ValueError, RecursionError):
        is_whole = False
    if is_whole:
        # Encoding again is the check: a state has only one text, so no other bytes, not even
        # another order of the keys or another space, say the same.
        del state["digest"]
        is_whole = _encode_state(state) == data
    if not is_whole or not isinstance(state.get("sha256"), dict):
        raise StoreIntegrityError(
            f"{path}: not a whole checkpoint: {_STATE_FILE} is not the one that was written"
        )
    return state  # type: ignore[no-any-return]
