"""The sequences that a run was started on, without which it cannot be resumed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from crossan.cache_schema.errors import IncompatibleError
from crossan.common.datasets import KeptSequences, SelectionSequences
from crossan.common.datasets.protocol import sequences_digest
from crossan.common.files import replace_durably
from crossan.common.split import LEAVE_LAST_OUT
from crossan.train.record.shapes import Sequences, read_record

__all__ = [
    "changed_sequences",
    "protocol_facts",
    "sequence_facts",
    "settle_sequences",
    "unrecorded_facts",
]

_FILE = "dataset.lock.json"


def sequence_facts(kept: KeptSequences) -> dict[str, int | str]:
    """Return how many users, items and interactions the protocol keeps, and their digest.

    The digest covers the test targets too.
    """
    return {
        "users": len(kept.user_ids),
        "items": len(kept.item_ids),
        "interactions": len(kept.items),
        "sequences": sequences_digest(kept),
    }


def protocol_facts(sequences: KeptSequences | SelectionSequences) -> dict[str, int | str | None]:
    """Return what ``result.json`` and ``validation.json`` say of the data.

    That is the split, its seed, and the digest of users, catalogue and sequences,
    which without the test part is another one.
    """
    return {**sequences.split.facts(), "sequences": sequences_digest(sequences)}


def unrecorded_facts(folder: Path) -> dict[str, int | str | None]:
    """Return the `protocol_facts` of a run whose ``result.json`` lacks them, as older ones do.

    Raises
    ------
    StoreIntegrityError
        The record of its sequences is damaged.
    """
    recorded = read_record(folder / _FILE, Sequences) or {"sequences": None}
    return {**LEAVE_LAST_OUT.facts(), "sequences": recorded["sequences"]}


def settle_sequences(folder: Path, facts: Mapping[str, int | str], remedy: str) -> None:
    """Record `sequence_facts` in a run folder, or compare them with those that are recorded.

    The best epoch was chosen by the validation targets of the old sequences, so
    a run is never resumed on others.

    Parameters
    ----------
    folder
        The run folder.
    facts
        Those of the dataset as it is now.
    remedy
        What the user can do where they differ.

    Raises
    ------
    IncompatibleError
        The run was started on other sequences.
    StoreIntegrityError
        The record is damaged.
    """
    path = folder / _FILE
    if not path.is_file():
        replace_durably(path, (json.dumps(facts, indent=2) + "\n").encode())
        return
    changed = changed_sequences(folder, facts)
    if changed is not None:
        raise IncompatibleError(
            f"--resume {folder}: the dataset has changed since this run was started: {changed}",
            remedy=remedy,
        )


def changed_sequences(folder: Path, facts: Mapping[str, int | str]) -> str | None:
    """Return in words how `sequence_facts` differ from those recorded in a run folder.

    None where they do not, or where none are recorded.

    Raises
    ------
    StoreIntegrityError
        The record is damaged.
    """
    recorded = read_record(folder / _FILE, Sequences)
    if recorded is None or recorded == facts:
        return None
    return f"expected {_in_words(recorded)}, found {_in_words(facts)}"


def _in_words(facts: Mapping[str, int | str]) -> str:
    return (
        f"{facts['users']:,} users, {facts['items']:,} items"
        f" and {facts['interactions']:,} interactions"
        f" (digest {str(facts['sequences'])[:12]})"
    )
