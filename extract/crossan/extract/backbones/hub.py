"""Fetch a checkpoint's files from the hub, or find them in its local cache."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from crossan.cache_schema.errors import CrossanError, RemoteError, UsageError

__all__ = ["download", "download_command"]

# No *.bin and no *.py: pickled weights and a checkpoint's own code are never loaded, so they are
# not downloaded either.
_PATTERNS = ["*.json", "*.txt", "*.safetensors"]

_INPUT_FILES = ("tokenizer.json", "vocab.txt", "preprocessor_config.json", "processor_config.json")
"""One of these lies beside the weights of every checkpoint of the built-in families."""

_ANSWER_S = 10.0
"""Seconds within which the hub has to answer the first request."""

_NO_ANSWER_OF_A_HUB = (ValueError, KeyError, TypeError, AttributeError)
"""What the hub library raises over an answer that another server gave, such as a login page."""


def download_command(hub_id: str, revision: str | None) -> str:
    """Return the command that fetches the files of a hub id."""
    return f"hf download {hub_id}" + (f" --revision {revision}" if revision else "")


def download(hub_id: str, revision: str | None) -> Path:
    """Return the folder of a hub id's files, fetching what the local hub cache lacks.

    Files of a commit never change, so a commit that the cache holds is not asked
    for. A branch or a tag is looked up where the hub can be reached.

    Raises
    ------
    UsageError
        The id is none, the hub does not have it, or the hub may not be asked
        (``HF_HUB_OFFLINE``) and the local cache does not hold it.
    RemoteError
        The hub cannot be reached, and the local cache does not hold it.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        # Of the HTTP client that this release of the hub library uses, which has changed before.
        HTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )
    from huggingface_hub.utils import logging

    # Its warnings of every retry would stand around our one message.
    logging.set_verbosity_error()
    options: dict[str, Any] = {"revision": revision, "allow_patterns": _PATTERNS}
    try:
        if revision is not None and re.fullmatch("[0-9a-f]{40}", revision):
            with suppress(LocalEntryNotFoundError):
                folder = Path(snapshot_download(hub_id, local_files_only=True, **options))
                if _is_complete(folder):
                    return folder
        # One request that is not repeated: without it a machine without a network would wait for
        # half a minute of retries.
        HfApi().model_info(hub_id, revision=revision, timeout=_ANSWER_S)
        return Path(snapshot_download(hub_id, **options))
    except HFValidationError as error:
        raise UsageError(f"--backbone {hub_id}: neither a folder nor a hub id: {error}") from None
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        reason: CrossanError = UsageError(_missing(hub_id, revision, f"the hub: {_first(error)}"))
    except OfflineModeIsEnabled:
        reason = UsageError(_missing(hub_id, revision, "HF_HUB_OFFLINE is set"))
    except (HfHubHTTPError, HTTPError, OSError, *_NO_ANSWER_OF_A_HUB) as error:
        reason = RemoteError(_missing(hub_id, revision, _first(error)))
    with suppress(LocalEntryNotFoundError):
        return Path(snapshot_download(hub_id, local_files_only=True, **options))
    from huggingface_hub.constants import HF_HUB_CACHE

    reason.remedy = (
        f"Where there is a network: {download_command(hub_id, revision)}"
        f"  (then copy its hub cache to {HF_HUB_CACHE}, set HF_HOME to where it lies,"
        " or give the folder: --backbone FOLDER)"
    )
    raise reason


def _is_complete(folder: Path) -> bool:
    return (
        (folder / "config.json").is_file()
        and any(folder.glob("*.safetensors"))
        and any((folder / name).is_file() for name in _INPUT_FILES)
    )


def _missing(hub_id: str, revision: str | None, reason: str) -> str:
    from huggingface_hub.constants import HF_HUB_CACHE

    return (
        f"--backbone {hub_id}: no folder of this name, "
        f"revision {revision or 'main'} is not in the local hub cache {HF_HUB_CACHE}, "
        f"and it could not be downloaded ({reason})"
    )


def _first(error: Exception) -> str:
    """Return the first line of what an error says."""
    return (str(error).splitlines() or [type(error).__name__])[0]
