"""What a loaded backbone turned out to be, as far as a store's identity follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from crossan.cache_schema.canonical import canonical_bytes, field_of, parse_object
from crossan.cache_schema.errors import StoreIntegrityError
from crossan.cache_schema.identity import StoreIdentity
from crossan.cache_schema.modality import Modality
from crossan.extract.backbones.snapshot import Snapshot
from crossan.extract.media.recipe import media_recipe

__all__ = ["Description"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """The facts of one loaded backbone.

    They follow from the checkpoint's files, the options and the libraries, but only
    loading the backbone tells them.
    """

    modality: Modality
    family: str
    family_revision: int
    """The one that the identity names."""
    dim: int
    """Width of a hidden state."""
    inputs: Mapping[str, Any]
    """As `crossan.extract.backbones.Processing.identity` gives it."""
    capture: Mapping[str, Any]
    """As a `StoreIdentity` has it."""
    sampling_rate: int | None = None
    """Hz."""
    frame_count: int | None = None

    @property
    def layers(self) -> tuple[int, ...]:
        """The kept layers, lowest first."""
        return tuple(self.capture["layers"])

    def name(self, snapshot: Snapshot) -> str:
        """Return what a store of it is called."""
        return (snapshot.hub_id or f"local-{self.family}").rpartition("/")[2]

    def identity(
        self, snapshot: Snapshot, stored_dtype: str, codec: str, *, is_clipped: bool = False
    ) -> StoreIdentity:
        """Return everything that fixes a store's numbers.

        No path and no library version is part of it.

        Parameters
        ----------
        snapshot
            The checkpoint's files.
        stored_dtype, codec
            As for ``--stored-dtype`` and ``--codec``.
        is_clipped
            Whether clips go through the folder of ``--clips``, which changes
            their pixels and samples.
        """
        media = media_recipe(
            self.modality,
            sampling_rate=self.sampling_rate,
            frame_count=self.frame_count,
            is_clipped=is_clipped,
        )
        return StoreIdentity(
            modality=self.modality,
            backbone={
                "id": snapshot.hub_id or f"local/{self.name(snapshot)}",
                "family": self.family,
                "family_revision": self.family_revision,
                "revision": snapshot.commit,
                "weights_sha256": snapshot.weight_digests(),
                "config_sha256": snapshot.config_digest,
            },
            inputs={**self.inputs, **media},
            capture=self.capture,
            stored_dtype=stored_dtype,
            codec=codec,
            dim=self.dim,
        )

    def to_bytes(self) -> bytes:
        """Return it as JSON that `from_bytes` reads; two are the same if their bytes are."""
        return canonical_bytes(asdict(self))

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> Description:
        """Read what `to_bytes` wrote.

        Parameters
        ----------
        where
            The file, for messages.

        Raises
        ------
        StoreIntegrityError
            It is something else.
        """
        value = parse_object(data, where)
        try:
            description = cls(
                modality=Modality(field_of(value, "modality", str, where)),
                family=field_of(value, "family", str, where),
                family_revision=field_of(value, "family_revision", int, where),
                dim=field_of(value, "dim", int, where),
                inputs=field_of(value, "inputs", dict, where),
                capture=field_of(value, "capture", dict, where),
                sampling_rate=value["sampling_rate"],
                frame_count=value["frame_count"],
            )
            if description.to_bytes() == data and description.layers:
                return description
        except (ValueError, KeyError, TypeError):
            pass
        raise StoreIntegrityError(f"{where}: expected the description of a backbone")
