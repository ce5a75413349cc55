"""One batch of prepared items through the backbone into rows for the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from crossan.cache_schema.errors import ResourceError
from crossan.cache_schema.modality import ItemStatus
from crossan.common.console import note
from crossan.common.stores import ItemRow, encode_rows
from crossan.extract.backbones.preparing import ModelInputs
from crossan.extract.job.prepare import Encoder, Prepared

__all__ = ["Forward", "Forwarded"]

States = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Forwarded:
    """A batch whose forward has begun."""

    batch: Sequence[Prepared]
    parts: Sequence[Callable[[], States]]
    """What waits for the hidden states of one part of the batch after the other."""
    layers: tuple[int, ...]

    @property
    def forwarded_count(self) -> int:
        """Items that went through the backbone."""
        return sum(prepared.outcome.inputs is not None for prepared in self.batch)

    def rows(self, stored_dtype: str) -> list[ItemRow]:
        """Wait for the hidden states; return one `ItemRow` per prepared item, in order.

        An item whose states are NaN or do not fit the stored type is
        quarantined with the reason ``bad-value``; the rest of its batch is kept.
        """
        if not self.parts:
            return [_row(prepared) for prepared in self.batch]
        states = [part() for part in self.parts]
        stored, problems = encode_rows(
            np.concatenate(states) if len(states) > 1 else states[0], stored_dtype, self.layers
        )
        values = iter(zip(stored, problems, strict=True))
        return [
            _row(prepared, *next(values)) if prepared.outcome.inputs is not None else _row(prepared)
            for prepared in self.batch
        ]


class Forward:
    """Sends batches through one backbone, in smaller parts once the device's memory has not sufficed for a whole one."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.part_size: int | None = None
        """Items at once, None where a whole batch fits."""
        self.pass_count = 0

    def begin(self, batch: Sequence[Prepared]) -> Forwarded:
        """Start the forward of a batch.

        Raises
        ------
        ResourceError
            The memory does not suffice for a single item.
        """
        inputs = [
            prepared.outcome.inputs for prepared in batch if prepared.outcome.inputs is not None
        ]
        parts: list[Callable[[], States]] = []
        while inputs:
            part = inputs[: self.part_size]
            try:
                parts.append(self._encoder.begin(part))
            except MemoryError as error:
                self._shrink(part, error)
                continue
            self.pass_count += 1
            inputs = inputs[len(part) :]
        return Forwarded(batch, parts, self._encoder.layers)

    def _shrink(self, part: Sequence[ModelInputs], error: MemoryError) -> None:
        modality = self._encoder.modality.value
        if len(part) == 1:
            raise ResourceError(
                f"out of memory in the forward of 1 item of {modality}: {error}",
                remedy="Free memory or give another --device, then run the same command: it goes on from here.",
            ) from error
        self.part_size = (len(part) + 1) // 2
        note(
            f"{modality}: no memory for {len(part)} items at once; going on with {self.part_size}, in the same batches"
        )


def _row(
    prepared: Prepared, row: npt.NDArray[Any] | None = None, problem: str | None = None
) -> ItemRow:
    finding, outcome = prepared.finding, prepared.outcome
    if problem is not None:
        return ItemRow(
            finding.medium.item_id,
            finding.digest,
            ItemStatus.QUARANTINED,
            f"bad-value: {problem}",
            None,
        )
    return ItemRow(finding.medium.item_id, finding.digest, outcome.status, outcome.reason, row)
