"""What a night trains on as one digest, so that the same input is trained on once."""

from __future__ import annotations

from collections.abc import Sequence

from crossan.cache_schema import canonical_bytes, sha256_hex
from crossan.train.service.specs import NightSpec

__all__ = ["fingerprint_of", "with_inbox"]

_NO_NUMBERS = {"label", "limits"}
"""Fields of a spec on which no number of a model depends."""


def fingerprint_of(spec: NightSpec, dataset: str, versions: Sequence[Sequence[object]]) -> str:
    """Return the digest of a dataset, of the versions of stores that are read, and of a spec.

    Parameters
    ----------
    spec
        What is done with them.
    dataset
        The dataset's own digest.
    versions
        Fingerprint, version and manifest digest of each store.
    """
    content = {
        "dataset": dataset,
        "stores": sorted([list(one) for one in versions], key=str),
        "spec": spec.model_dump(mode="json", exclude=_NO_NUMBERS),
    }
    return sha256_hex(canonical_bytes(content))


def with_inbox(fingerprint: str, signature: str) -> str:
    """Return the digest of an input to which an inbox is to be added first."""
    return sha256_hex(canonical_bytes([fingerprint, signature]))
