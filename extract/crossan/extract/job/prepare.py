"""What a job needs of a backbone, and an item that is ready for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from crossan.cache_schema.identity import StoreIdentity
from crossan.cache_schema.modality import ItemStatus, Modality
from crossan.extract.backbones.launched import Launched
from crossan.extract.backbones.preparing import ModelInputs
from crossan.extract.job.worklist import Finding
from crossan.extract.media.faults import unusable
from crossan.extract.workers import MediumOutcome

__all__ = ["Encoder", "Prepared", "prepare_title", "prepared"]


class Encoder(Protocol):
    """What a job needs of a backbone.

    `crossan.extract.backbones.Backbone` is the real one.
    """

    modality: Modality
    layers: tuple[int, ...]
    dim: int
    sampling_rate: int | None
    frame_count: int | None

    @property
    def device(self) -> object:
        """What computes, with a text such as ``cpu`` or ``cuda:0``."""

    def identity(self, stored_dtype: str, codec: str, *, is_clipped: bool = False) -> StoreIdentity:
        """Return everything that fixes the numbers."""

    def provenance(self) -> dict[str, Any]:
        """Return what is recorded but does not fix the numbers."""

    def text_length(self, title: str) -> int:
        """Return the number of tokens of a title."""

    def preparer(self) -> Callable[[Any], ModelInputs]:
        """Return what makes model inputs of one decoded medium, which can be pickled."""

    def prepare(self, medium: Any) -> ModelInputs:  # noqa: ANN401 - by modality
        """Return the model inputs of one decoded item."""

    def begin(self, batch: Sequence[ModelInputs]) -> Launched:
        """Start the forward of a batch and return what waits for its states.

        Raises
        ------
        MemoryError
            The device has too little memory for the batch; a smaller one may fit.
        """


@dataclass(frozen=True, slots=True)
class Prepared:
    """An item with its model inputs, or with the final state of one that has none."""

    finding: Finding
    outcome: MediumOutcome


def prepared(finding: Finding, outcome: MediumOutcome) -> Prepared:
    """Join an item with what became of its medium."""
    # The file went away after it was hashed: a digest would stand for content that nobody has.
    if outcome.status is ItemStatus.MISSING:
        finding = replace(finding, digest=None)
    return Prepared(finding, outcome)


def prepare_title(finding: Finding, encoder: Encoder) -> Prepared:
    """Turn a title into model inputs, or quarantine it where the tokeniser refuses it."""
    assert finding.medium.title is not None
    try:
        return Prepared(finding, MediumOutcome(encoder.prepare(finding.medium.title)))
    except ValueError as error:
        outcome = MediumOutcome(None, ItemStatus.QUARANTINED, unusable(error))
        return Prepared(finding, outcome)
