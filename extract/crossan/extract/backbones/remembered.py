"""A backbone that is loaded once something has to be computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from crossan.cache_schema.errors import IncompatibleError
from crossan.cache_schema.identity import StoreIdentity
from crossan.cache_schema.modality import Modality
from crossan.extract.backbones.choice import Choice
from crossan.extract.backbones.description import Description
from crossan.extract.backbones.families import FAMILIES
from crossan.extract.backbones.plugins import family_of
from crossan.extract.backbones.presets import default_preset, resolve
from crossan.extract.backbones.remembering import description_key, forget, recall, remember
from crossan.extract.backbones.snapshot import Snapshot, find_snapshot

if TYPE_CHECKING:
    from crossan.extract.backbones.backbone import Backbone
    from crossan.extract.backbones.launched import Launched
    from crossan.extract.backbones.preparing import ModelInputs, Preparer

__all__ = ["RememberedBackbone", "open_backbone"]


def open_backbone(
    modality: Modality,
    source: str | None = None,
    *,
    revision: str | None = None,
    choice: Choice | None = None,
) -> Backbone | RememberedBackbone:
    """Load a checkpoint, or put the loading off where an earlier run has loaded the same.

    Parameters
    ----------
    modality, source, revision
        As `crossan.extract.backbones.load_backbone` takes them.
    choice
        The options of the backbone, None for those by default.

    Raises
    ------
    CrossanError
        As `crossan.extract.backbones.load_backbone` raises; where the loading is put off,
        that error comes from the first property or method that computes.
    """
    choice = choice or Choice()
    checkpoint = source or default_preset(modality).name
    snapshot = find_snapshot(*resolve(checkpoint, revision))
    family = family_of(snapshot.config, modality, checkpoint)

    def load() -> Backbone:
        from crossan.extract.backbones.opening import load_snapshot

        return load_snapshot(family, snapshot, checkpoint, choice)

    # A plug-in's code can change without its version, and a device or a compiler that is named
    # is tried at once: a job that could not run should not seem to.
    is_plain = choice.device in {"auto", "cpu"} and not choice.is_compiled
    if FAMILIES.get(family.model_type) is not family or not is_plain:
        return load()
    key = description_key(modality, snapshot, choice)
    if key is None:
        return load()
    description = recall(key)
    if description is not None and description.modality is modality:
        return RememberedBackbone(description, snapshot, load, key)
    backbone = load()
    # Of files that were replaced meanwhile the key says nothing.
    if description_key(modality, snapshot, choice) == key:
        remember(key, backbone.description)
    return backbone


class RememberedBackbone:
    """A backbone of which an earlier run has remembered the description.

    It is loaded by the first property or method that needs more. Before anything is computed
    it is held against the description, and its weights against those of the identity.

    Parameters
    ----------
    description, key
        What is remembered, and under which key.
    snapshot
        The checkpoint's files.
    load
        What loads it.
    """

    def __init__(
        self, description: Description, snapshot: Snapshot, load: Callable[[], Backbone], key: str
    ) -> None:
        self.description = description
        self.modality, self.layers = description.modality, description.layers
        self.dim = description.dim
        self.sampling_rate, self.frame_count = description.sampling_rate, description.frame_count
        self._snapshot, self._load, self._key = snapshot, load, key
        self._weights = snapshot.weight_digests()

    def identity(self, stored_dtype: str, codec: str, *, is_clipped: bool = False) -> StoreIdentity:
        """Return everything that fixes a store's numbers, as `Description.identity` does."""
        return self.description.identity(self._snapshot, stored_dtype, codec, is_clipped=is_clipped)

    @property
    def device(self) -> object:
        """What computes, with a text such as ``cpu``."""
        return self._loaded.device

    def provenance(self) -> dict[str, Any]:
        """Return what is recorded of a job but does not fix the numbers."""
        return self._loaded.provenance()

    def text_length(self, title: str) -> int:
        """Return the number of tokens of a title."""
        return self._loaded.text_length(title)

    def preparer(self) -> Preparer:
        """Return the worker's half of `prepare`, which can be pickled."""
        return self._loaded.preparer()

    def prepare(self, medium: Any) -> ModelInputs:  # noqa: ANN401 - by modality
        """Return one item's arrays, as `crossan.extract.backbones.Backbone.prepare` does."""
        return self._loaded.prepare(medium)

    def begin(self, batch: Sequence[ModelInputs]) -> Launched:
        """Launch a forward, as `crossan.extract.backbones.Backbone.begin` does."""
        return self._loaded.begin(batch)

    @cached_property
    def _loaded(self) -> Backbone:
        backbone = self._load()
        # A store is named by the weights of when the job began, which may be long ago.
        if self._snapshot.weight_digests() != self._weights:
            raise IncompatibleError(
                f"{self._snapshot.folder}: expected the weights that were there when the job began,"
                " found others",
                remedy="Run the same command again",
            )
        if backbone.description.to_bytes() != self.description.to_bytes():
            forget(self._key)
            raise IncompatibleError(
                f"{self._snapshot.folder}: expected the backbone that an earlier run loaded from"
                " the same files, found another",
                remedy="Run the same command again: it has forgotten the earlier one",
            )
        return backbone
