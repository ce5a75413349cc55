"""Whether the figures of several runs may stand in one table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crossan.cache_schema.errors import IncompatibleError

__all__ = ["require_one_protocol"]

_REMEDIES = {
    "split": "Train both with the same data.split: crossan-train --set data.split=NAME",
    "split seed": "Train both with the same seed: crossan-train --set data.split_seed=N",
    "mask": "Train both with the same --mask-history, or see one run under the mask of the other:"
    " crossan evaluate RUN --mask-history MASK",
}
_OTHER_DATA = (
    "Train both on the same dataset, with the same data.max_items and data.min_items:"
    " crossan-train --dataset DATASET"
)


def require_one_protocol(results: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse runs whose figures were not made under one protocol.

    That is the same split with the same seed, the same users, catalogue and
    sequences, and the same history mask. What an older run did not record is not
    compared, but for its split, which was leave-last-out.

    Parameters
    ----------
    results
        What ``result.json`` or ``validation.json`` of each run holds, by the name
        that the user gave it. The digests of the two cover different parts, so one
        kind is not held against the other by digest.

    Raises
    ------
    IncompatibleError
        Two of the runs differ; it names them, and in what.
    """
    # What is known of each fact, and by which run: an older one did not record all of them.
    known: dict[str, tuple[str, str]] = {}
    for name, result in results.items():
        protocol = _protocol(result)
        differing = [
            what
            for what in protocol
            if known.get(what, (name, protocol[what]))[1] != protocol[what]
        ]
        if differing:
            other = known[differing[0]][0]
            lines = [
                f"{what}: {known[what][1]} and {protocol[what]}"
                for what in differing
                if known[what][0] == other
            ]
            heading = f"{other} and {name} were not evaluated under one protocol"
            raise IncompatibleError(
                "\n  ".join([heading, *lines]), remedy=_REMEDIES.get(differing[0], _OTHER_DATA)
            )
        for what, fact in protocol.items():
            known.setdefault(what, (name, fact))


def _protocol(result: Mapping[str, Any]) -> dict[str, str]:
    """Return what makes figures comparable, in words, without what was not recorded."""
    covered = "sequences" if "test" in result else "sequences without test"
    seed, sequences = result.get("split_seed"), result.get("sequences")
    facts = {
        "split": result.get("split", "leave-last-out"),
        "split seed": "none" if seed is None else str(seed),
        "users": _count(result, "users"),
        "items": _count(result, "items"),
        covered: None if sequences is None else f"digest {sequences[:12]}",
        "mask": result.get("mask_history"),
    }
    return {what: fact for what, fact in facts.items() if fact is not None}


def _count(result: Mapping[str, Any], name: str) -> str | None:
    return f"{result[name]:,}" if name in result else None
