"""The identity of a store, which is the content of ``store.json``.

It holds everything that fixes the numbers in a store. Its digest is the fingerprint.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any

from crossan.cache_schema.canonical import SCHEMA_VERSION, canonical_bytes, digest_of, field_of
from crossan.cache_schema.errors import IncompatibleError, StoreIntegrityError, UsageError
from crossan.cache_schema.layout import CODECS, MAX_DECODED_CHUNK_BYTES, STORED_DTYPES
from crossan.cache_schema.modality import Modality

__all__ = ["StoreIdentity", "check_schema_version"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreIdentity:
    """What fixes a store's numbers.

    A store with any other value here is another store. Library versions, threads
    and batch sizes are provenance, not identity. So are paths and times, which must
    not appear here.


    Raises
    ------
    UsageError
        A dtype, codec, width or list of kept layers that no store can have.
    """

    schema_version: int = SCHEMA_VERSION
    """Version of the format on disk."""

    modality: Modality

    backbone: Mapping[str, Any]
    """Which frozen model: id, family, revision, SHA-256 of weight files and of configuration."""

    inputs: Mapping[str, Any]
    """How a medium becomes model inputs.

    Processor and its configuration, tokeniser, clip, frame rule, resampler.
    """

    capture: Mapping[str, Any]
    """Which states are kept and how they are computed.

    ``layers``, ``pooling``, ``final_norm``, ``compute_dtype``, ``attention``.
    """

    stored_dtype: str = "float16"
    """``float16``, ``float32`` or ``bfloat16``."""

    codec: str = "raw"
    """``raw``, ``zstd`` or ``blosc``.

    It changes bytes but no number, so the fingerprint leaves it out.
    """

    dim: int
    """Width of a hidden state."""

    def __post_init__(self) -> None:
        """Check the values once and keep them as plain JSON."""
        # The class is frozen, so the constructor itself has to go around its guard.
        object.__setattr__(self, "modality", Modality(self.modality))
        for name in ("backbone", "inputs", "capture"):
            # A round trip through JSON turns tuples into lists: an identity that was built in
            # memory then equals the one that is read back from disk.
            object.__setattr__(self, name, json.loads(canonical_bytes(dict(getattr(self, name)))))
        if self.stored_dtype not in STORED_DTYPES:
            raise UsageError(
                f"stored dtype: expected one of {', '.join(STORED_DTYPES)}, "
                f"found {self.stored_dtype!r:.80}"
            )
        if self.codec not in CODECS:
            raise UsageError(
                f"codec: expected one of {', '.join(CODECS)}, found {self.codec!r:.80}"
            )
        layers = self.capture.get("layers")
        if not _are_layers(layers):
            raise UsageError(
                f"kept layers: expected increasing layer numbers from 0, found {layers!r:.200}"
            )
        if not 0 < self.row_bytes <= MAX_DECODED_CHUNK_BYTES:
            raise UsageError(
                f"dim: expected a row of 1 to {MAX_DECODED_CHUNK_BYTES:,} bytes, "
                f"found {len(self.layers)} layers of width {self.dim!r:.40}"
            )

    @property
    def layers(self) -> tuple[int, ...]:
        """The kept layers, lowest first. Number 0 is the embedding output."""
        return tuple(self.capture["layers"])

    @property
    def row_bytes(self) -> int:
        """Bytes that one item's hidden states take."""
        return len(self.layers) * self.dim * STORED_DTYPES[self.stored_dtype].byte_count

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the canonical JSON of everything but the codec, 64 hexadecimal digits."""
        return digest_of({key: value for key, value in self.to_dict().items() if key != "codec"})

    def to_dict(self) -> dict[str, Any]:
        """Return the content of ``store.json``."""
        return {**asdict(self), "modality": self.modality.value}

    @classmethod
    def from_dict(cls, value: dict[str, Any], where: str = "store.json") -> StoreIdentity:
        """Read the content of ``store.json``.

        Raises
        ------
        IncompatibleError
            A newer schema version wrote it.
        StoreIntegrityError
            It is not the content of a ``store.json``.
        """
        check_schema_version(value, where)
        known = {field.name for field in fields(cls)}
        # An unknown key may fix numbers in a way that this version knows nothing of, so it is
        # refused rather than ignored.

        if set(value) != known:
            raise StoreIntegrityError(
                f"{where}: expected the keys {', '.join(sorted(known))}; "
                f"missing: {', '.join(sorted(known - set(value))) or 'none'}, "
                f"unknown: {', '.join(sorted(set(value) - known)) or 'none':.200}"
            )
        for name in ("backbone", "inputs", "capture"):
            field_of(value, name, dict, where)
        field_of(value, "dim", int, where)
        for name in ("modality", "stored_dtype", "codec"):
            field_of(value, name, str, where)
        try:
            return cls(**value)
        except ValueError as error:
            raise StoreIntegrityError(f"{where}: {error!s:.500}") from error


def check_schema_version(value: dict[str, Any], where: str) -> None:
    """Refuse what a newer crossan wrote.

    Raises
    ------
    IncompatibleError
        The schema version is not the one this package describes.
    """
    recorded = field_of(value, "schema_version", int, where)
    if recorded != SCHEMA_VERSION:
        raise IncompatibleError(
            f"{where}: expected schema version {SCHEMA_VERSION}, found {recorded}",
            remedy="Run: pip install --upgrade crossan",
        )


def _are_layers(layers: object) -> bool:
    if not isinstance(layers, list) or not layers:
        return False
    if not all(
        isinstance(layer, int) and not isinstance(layer, bool) and layer >= 0 for layer in layers
    ):
        return False
    return all(low < high for low, high in pairwise(layers))
