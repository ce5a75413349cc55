"""Remember between runs what a backbone turned out to be.

Loading a backbone imports torch and transformers and reads all of its weights, to
learn a few facts that never change: which layers it has, and what its processor's
settings come to. A run that finds nothing to do needs no more than those.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from crossan.cache_schema.canonical import digest_of, sha256_hex
from crossan.cache_schema.errors import CrossanError
from crossan.cache_schema.modality import Modality
from crossan.common.contents.digests import content_digest
from crossan.common.files import replace_unsynced
from crossan.common.regular import SpecialFileError, open_regular
from crossan.extract.backbones.choice import Choice
from crossan.extract.backbones.description import Description
from crossan.extract.backbones.snapshot import Snapshot

__all__ = ["description_key", "forget", "recall", "remember"]

_LIBRARIES = (
    "crossan",
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "huggingface-hub",
    "numpy",
    "pillow",
    # Where they are installed transformers takes other code for some checkpoints.
    "torchvision",
    "torchaudio",
    "sentencepiece",
)
"""What decides how a checkpoint's files are read."""

_NEVER_READ = {
    *(".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".onnx", ".ot", ".tflite", ".gguf"),
    *(".md", ".png"),
}
"""Endings of files that no backbone is made of; hashing them could take a minute."""

_LARGEST = 1 << 20
"""Bytes that are read of a file; a description has about a thousand."""

_OWN_CODE = (Path(__file__).parent, Path(__file__).parent.parent / "media" / "recipe.py")


def description_key(modality: Modality, snapshot: Snapshot, choice: Choice) -> str | None:
    """Return the digest of all that a backbone's description follows from, hex.

    That is every file of the checkpoint's folder by its content, the options, the
    libraries by their versions and our own code. None where a file cannot be read, which
    only loading the backbone reports, or where a name is no text.
    """
    try:
        return digest_of(
            {
                "modality": modality.value,
                "origin": [snapshot.hub_id, snapshot.commit],
                "files": dict(_files_of(snapshot.folder)),
                "choice": asdict(choice),
                "libraries": {name: _version_of(name) for name in _LIBRARIES},
                "code": {path.name: sha256_hex(path.read_bytes()) for path in _own_files()},
                "machine": [platform.machine(), platform.python_version()],
            }
        )
    # The last is of a file's name, or of an option, that is not UTF-8.
    except (OSError, SpecialFileError, UnicodeEncodeError):
        return None


def recall(key: str) -> Description | None:
    """Return the description that is remembered under a key, None where there is none."""
    try:
        file = _file(key)
        with open_regular(file) as opened:
            seal, _, content = opened.read(_LARGEST).partition(b"\n")
        # A damaged description could still be one, of another backbone.
        if seal != _seal(key, content):
            return None
        return Description.from_bytes(content, str(file))
    # None yet, or something else: it is made anew.
    except (OSError, CrossanError):
        return None


def remember(key: str, description: Description) -> None:
    """Remember a description for the next run, where there is room for it."""
    try:
        file = _file(key)
        file.parent.mkdir(parents=True, exist_ok=True)
        content = description.to_bytes()
        replace_unsynced(file, _seal(key, content) + b"\n" + content)
    except (OSError, CrossanError):
        # Full or read-only. The next run loads the backbone again.
        return


def forget(key: str) -> None:
    """Take back what was remembered under a key."""
    try:
        _file(key).unlink(missing_ok=True)
    except OSError:
        return


def _seal(key: str, content: bytes) -> bytes:
    """Return the first line of a file, which is of its key and of all that follows."""
    return sha256_hex(key.encode() + content).encode()


def _files_of(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the name and the content digest of each file of a checkpoint's folder."""
    for path in sorted(folder.iterdir()):
        # Folders are none of the checkpoint: a family that reads them is a plug-in's.
        if path.is_dir() or path.suffix in _NEVER_READ:
            yield path.name, ""
        else:
            yield path.name, content_digest(path)


def _own_files() -> Iterator[Path]:
    for path in _OWN_CODE:
        yield from sorted(path.glob("*.py")) if path.is_dir() else [path]


def _version_of(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _file(key: str) -> Path:
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "crossan"
    except RuntimeError as error:
        # A container's user without a name and HOME.
        raise FileNotFoundError(str(error)) from None
    return folder / "backbones" / f"{key}.json"
