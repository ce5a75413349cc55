"""Where the stores of a cache are, and how one is begun."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt

from crossan.cache_schema.canonical import canonical_bytes, digest_of, parse_object, pretty_bytes
from crossan.cache_schema.errors import (
    IncompatibleError,
    StoreIntegrityError,
    StoreNotFoundError,
    UsageError,
)
from crossan.cache_schema.folder_names import folder_name
from crossan.cache_schema.identity import StoreIdentity
from crossan.cache_schema.modality import Modality
from crossan.common.files import create_exclusively, read_regular
from crossan.common.kinds_of_files import what_lies_at
from crossan.common.refusals import make_folder, require_no_file
from crossan.common.stores.canary import CANARY_ITEM_COUNT, parse_canary
from crossan.common.stores.clearing import FOLDERS
from crossan.common.stores.surroundings import has_content, is_begun, require_root

__all__ = [
    "CANARY",
    "canary_bytes",
    "create_store",
    "find_stores",
    "read_canary",
    "read_identity",
    "require_cache",
    "store_folder",
]

CANARY = "canary/features.npy"
_LOCAL = "local/"
"""What the id of a backbone begins with that came from a folder, and not from a hub."""


def require_cache(
    cache: Path | None, remedy: str = "Give --cache FOLDER or set CROSSAN_CACHE"
) -> Path:
    """Return the folder of stores that a command was given.

    Raises
    ------
    UsageError
        It was given none, a link that leads nowhere, or what is no cache: a store, a folder
        inside a cache, a run or a dataset.
    ResourceError
        It was given a file.
    """
    if cache is None:
        raise UsageError(
            "--cache: expected a folder of stores, found neither the flag nor CROSSAN_CACHE",
            remedy=remedy,
        )
    if (cache / "store.json").is_file():
        raise UsageError(
            f"{cache}: expected a folder of stores, found a store itself",
            remedy="Name the folder that holds it in DATASET/MODALITY/NAME",
        )
    require_no_file(cache, f"--cache {cache}")
    require_root(cache)
    return cache


def find_stores(
    cache: Path | str, dataset: str | None = None, modality: Modality | None = None
) -> list[Path]:
    """Return the folders in ``cache`` that hold a store, sorted.

    One that has lost its ``store.json`` is among them, so that a run stops there and does not go
    on without its modality.

    Parameters
    ----------
    cache
        Folder of stores; one that does not exist holds none.
    dataset
        Name of the dataset, None for all.
    modality
        None for all.
    """
    of_dataset = folder_name(dataset) if dataset is not None else "*"
    of_modality = modality.value if modality is not None else "*"
    folders = Path(cache).glob(f"{of_dataset}/{of_modality}/*")
    # A cache may hold other folders too, so the name in the middle has to be a modality.
    return sorted(path for path in folders if path.parent.name in set(Modality) and is_begun(path))


def store_folder(cache: Path | str, dataset: str, identity: StoreIdentity) -> Path:
    """Return ``cache/<dataset>/<modality>/<backbone name>-<first 12 of the fingerprint>``.

    Names are cut to letters, digits, dot, hyphen and underscore. A name that had to be
    changed ends in the start of its own digest, so two names never meet. The name of a local
    checkpoint tells it from others, see `_backbone_name`; a store that an earlier version began
    without that keeps its folder.
    """
    folder = Path(cache) / folder_name(dataset) / identity.modality.value
    earlier = folder / f"{folder_name(_last_name(identity))}-{identity.fingerprint[:12]}"
    if is_begun(earlier):
        return earlier
    return folder / f"{folder_name(_backbone_name(identity))}-{identity.fingerprint[:12]}"


def _last_name(identity: StoreIdentity) -> str:
    return str(identity.backbone.get("id", "backbone")).rstrip("/").rsplit("/", 1)[-1]


def _backbone_name(identity: StoreIdentity) -> str:
    """Return the name of the backbone, for a local checkpoint with width and digest of its weights.

    It has no name of its own but its family, which others have too. The name of its folder would
    be another on the next machine, where the store has to be found by shards and by those who
    pull it.
    """
    weights = identity.backbone.get("weights_sha256")
    if not str(identity.backbone.get("id", "")).startswith(_LOCAL) or not weights:
        return _last_name(identity)
    return f"{_last_name(identity)}-{identity.dim}-{digest_of(weights)[:6]}"


def create_store(
    folder: Path | str, identity: StoreIdentity, canary: npt.NDArray[np.float32]
) -> None:
    """Begin a store, or confirm that an equal one has been begun already.

    The canary is written first, so that a store with a ``store.json`` is whole. A
    canary that is there already is kept, for the caller to compare with a tolerance.

    Parameters
    ----------
    folder
        Folder of the store, made where it does not exist.
    identity
        Content of ``store.json``.
    canary
        Hidden states of four fixed inputs, ``(4, layer, dim)`` float32.

    Raises
    ------
    ValueError
        A canary of another shape.
    IncompatibleError
        Another store has been begun in this folder. The message names the fields that differ.
    """
    folder = Path(folder)
    expected = (CANARY_ITEM_COUNT, len(identity.layers), identity.dim)
    if canary.shape != expected:
        raise ValueError(f"expected a canary of shape {expected}, found {canary.shape}")
    for name in FOLDERS:
        make_folder(folder / name)
    create_exclusively(folder / CANARY, canary_bytes(canary))
    if create_exclusively(folder / "store.json", pretty_bytes(identity.to_dict())):
        return
    recorded = read_identity(folder)
    if recorded != identity:
        ours, theirs = identity.to_dict(), recorded.to_dict()
        different = sorted(
            key for key in ours if canonical_bytes(ours[key]) != canonical_bytes(theirs[key])
        )
        raise IncompatibleError(
            f"{folder}: expected a store of the same identity, "
            f"found one with another {', '.join(different)}",
            remedy="Choose another --cache, or repeat the options that its store was begun with",
        )


def read_identity(folder: Path) -> StoreIdentity:
    """Read ``store.json``.

    Raises
    ------
    StoreNotFoundError
        There is no ``store.json``, and nothing else of a store.
    StoreIntegrityError, IncompatibleError
        It cannot be read, or was lost.
    """
    if not (folder / "store.json").is_file():
        if has_content(folder):
            raise StoreIntegrityError(
                f"{folder / 'store.json'}: expected the identity of the store,"
                f" found {what_lies_at(folder / 'store.json')}",
                remedy="Run: crossan-extract --repair with the options of the store",
            )
        raise StoreNotFoundError(
            f"no store at {folder}: expected store.json, found none",
            remedy="Run: crossan cache ls",
        )
    where = str(folder / "store.json")
    return StoreIdentity.from_dict(parse_object(read_regular(folder, "store.json"), where), where)


def read_canary(folder: Path | str) -> npt.NDArray[np.float32]:
    """Return the hidden states of the four fixed inputs, ``(4, layer, dim)`` float32.

    Raises
    ------
    StoreNotFoundError
        There is no store at ``folder``.
    StoreIntegrityError
        The file is not such an array.
    """
    folder = Path(folder)
    identity = read_identity(folder)
    return parse_canary(read_regular(folder, CANARY), identity, str(folder / CANARY))


def canary_bytes(array: npt.NDArray[np.float32]) -> bytes:
    """Return the content of ``canary/features.npy``."""
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array, dtype="<f4"), allow_pickle=False)
    return buffer.getvalue()
