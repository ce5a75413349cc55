"""Find a checkpoint's files, in a folder or through the local hub cache."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossan.cache_schema.canonical import digest_of
from crossan.cache_schema.errors import UsageError
from crossan.common.contents.digests import content_digest
from crossan.extract.backbones.checkpoint_files import check_folder, read_object
from crossan.extract.backbones.hub import download, download_command

__all__ = ["Snapshot", "find_snapshot"]

_VOLATILE = {
    "_name_or_path",
    "transformers_version",
    "architectures",
    "dtype",
    "torch_dtype",
    "id2label",
    "label2id",
}
"""Keys of ``config.json`` that say nothing about the numbers."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The files of one checkpoint at one revision."""

    folder: Path
    hub_id: str | None
    """None for a folder that is not in a hub cache."""
    commit: str | None
    config: Mapping[str, Any]
    """``config.json`` as it stands."""

    @property
    def remedy(self) -> str:
        """What to do about a file that is damaged or missing."""
        return _remedy(self.hub_id, self.commit)

    @property
    def config_digest(self) -> str:
        """SHA-256 of what the config says about the numbers, hex."""
        return digest_of({key: value for key, value in self.config.items() if key not in _VOLATILE})

    def weight_digests(self) -> dict[str, str]:
        """Return each weight file's SHA-256 by name, hex.

        Digests are remembered between runs, by the file's stat.
        """
        return {
            path.name: content_digest(path) for path in sorted(self.folder.glob("*.safetensors"))
        }


def find_snapshot(source: str, revision: str | None) -> Snapshot:
    """Find a checkpoint's files.

    Parameters
    ----------
    source
        A folder, or a hub id such as ``google-bert/bert-base-uncased``; an
        existing folder wins.
    revision
        Branch, tag or commit on the hub; None is its main branch.

    Raises
    ------
    UsageError
        No such folder or hub id, no safetensors weights, or a revision for a folder.
    ResourceError
        The system refuses to read the folder or its ``config.json``.
    """
    folder = Path(source)
    if check_folder(folder):
        if revision is not None:
            raise UsageError(f"--revision {revision}: {source} is a folder, which has no revisions")
        hub_id, commit = _hub_origin(folder)
    else:
        # What can only be a folder is not looked up on the hub.
        if folder.is_absolute() or source.startswith("."):
            raise UsageError(
                f"--backbone {source}: no such folder",
                remedy="crossan backbones init-tiny OUT  (tiny checkpoints to try)",
            )
        folder = download(source, revision)
        hub_id, commit = source, folder.name
    config = _read_config(folder, source, _remedy(hub_id, commit))
    if not any(folder.glob("*.safetensors")):
        pickled = [
            path.name for pattern in ("*.bin", "*.pt", "*.ckpt") for path in folder.glob(pattern)
        ]
        raise UsageError(
            f"--backbone {source}: expected weights as *.safetensors in {folder}, "
            f"found {pickled[0] if pickled else 'no weights'}; pickled weights are never loaded",
            remedy=f"{_remedy(hub_id, commit)}  (or choose a model or revision that has safetensors)",
        )
    return Snapshot(folder, hub_id, commit, config)


def _hub_origin(folder: Path) -> tuple[str | None, str | None]:
    """Return the hub id and commit of a folder in a hub cache, else None twice.

    Such a folder is ``models--ORG--NAME/snapshots/COMMIT``. Given by its path it
    has to get the same fingerprint as by its id.
    """
    snapshot = folder.absolute()
    repository = snapshot.parent.parent.name
    if snapshot.parent.name == "snapshots" and repository.startswith("models--"):
        return repository.removeprefix("models--").replace("--", "/"), snapshot.name
    return None, None


def _remedy(hub_id: str | None, commit: str | None) -> str:
    if hub_id is None:
        # Never a command that writes into it: the folder is the user's, who may have tuned it.
        return "Download or copy the checkpoint again, to a new folder: --backbone FOLDER"
    # What this replaces in the hub cache is the same file of the same commit.
    return f"Run: {download_command(hub_id, commit)} --force-download"


def _read_config(folder: Path, source: str, remedy: str) -> dict[str, Any]:
    config = read_object(folder / "config.json", remedy)
    if config is None:
        # A frequent slip: the folder that init-tiny wrote, which has a checkpoint per modality.
        kinds = sorted(path.parent.name for path in folder.glob("*/config.json"))
        hint = f" (it holds the folders {', '.join(kinds)}: name one)" if kinds else ""
        raise UsageError(f"--backbone {source}: expected config.json in {folder}, found none{hint}")
    return config
