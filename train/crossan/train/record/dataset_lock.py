"""The sequences that a run was begun on: those it goes on with, whatever has become of its dataset."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from crossan.cache_schema.canonical import parse_object
from crossan.cache_schema.errors import IncompatibleError, StoreIntegrityError
from crossan.common.datasets import KeptSequences
from crossan.common.datasets.protocol import sequences_digest
from crossan.common.files import replace_durably

__all__ = ["sequence_facts", "settle_sequences"]

_FILE = "dataset.lock.json"


def sequence_facts(kept: KeptSequences) -> dict[str, int | str]:
    """Return how many users, items and interactions the protocol keeps, and their digest, test targets included."""
    return {
        "users": len(kept.user_ids),
        "items": len(kept.item_ids),
        "interactions": len(kept.items),
        "sequences": sequences_digest(kept),
    }


def settle_sequences(folder: Path, facts: Mapping[str, int | str]) -> None:
    """Record `sequence_facts` in a run folder, or make sure that they are those recorded there.

    A validation target of today's dataset says nothing of an epoch chosen by
    yesterday's, so a run never goes on over another.

    Parameters
    ----------
    folder
        The run folder.
    facts
        Of the dataset as it is now.

    Raises
    ------
    IncompatibleError
        The run there was begun on other sequences.
    StoreIntegrityError
        What is recorded there is damaged.
    """
    path = folder / _FILE
    if not path.is_file():
        replace_durably(path, (json.dumps(facts, indent=2) + "\n").encode())
        return
    then = parse_object(path.read_bytes(), str(path))
    if then.keys() != facts.keys():
        raise StoreIntegrityError(
            f"{path}: expected {', '.join(facts)}, found {', '.join(then) or 'nothing'}"
        )
    if then != facts:
        raise IncompatibleError(
            f"--resume {folder}: the dataset has changed since the run there was begun: expected {_said(then)}, found {_said(facts)}",
            remedy=f"Begin another run from its weights: --init {folder} --out {folder}-2",
        )


def _said(facts: Mapping[str, int | str]) -> str:
    return (
        f"{facts['users']:,} users, {facts['items']:,} items and {facts['interactions']:,} interactions"
        f" (digest {str(facts['sequences'])[:12]})"
    )
