"""Send a batch of prepared items through the backbone and make rows for the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from crossan.cache_schema.errors import ResourceError
from crossan.cache_schema.modality import ItemStatus
from crossan.common.console import note
from crossan.common.stores import ItemRow, encode_rows
from crossan.extract.backbones.launched import Launched, States
from crossan.extract.backbones.preparing import ModelInputs
from crossan.extract.job.prepare import Encoder, Prepared
from crossan.extract.job.quarantine import with_reader
from crossan.extract.job.spread import Spread

__all__ = ["Forward", "Forwarded"]


@dataclass(frozen=True, slots=True)
class Forwarded:
    """A batch whose forward has begun."""

    batch: Sequence[Prepared]
    parts: Sequence[Launched]
    """The forwards that it took, in order."""
    layers: tuple[int, ...]

    @property
    def forwarded_count(self) -> int:
        """Items that went through the backbone."""
        return sum(prepared.outcome.inputs is not None for prepared in self.batch)

    @property
    def seconds(self) -> float:
        """Seconds of the device in its forwards, known once `fetch` has returned."""
        return sum(part.seconds() for part in self.parts)

    def fetch(self) -> States | None:
        """Wait for the hidden states, ``(items, layer, dim)`` of the items that were forwarded.

        They are None where there are no such items.
        """
        states = [part() for part in self.parts]
        if len(states) > 1:
            return np.concatenate(states)
        return states[0] if states else None

    def rows(self, states: States | None, stored_dtype: str, spread: Spread) -> list[ItemRow]:
        """Return one `ItemRow` per prepared item, in order.

        An item whose states are NaN or do not fit the stored type is quarantined
        with the reason ``bad-value``. The rest of its batch is kept.

        Parameters
        ----------
        states
            As `fetch` returned them.
        spread
            What sees the states that are kept.
        """
        if states is None:
            return [_row(prepared) for prepared in self.batch]
        stored, problems = encode_rows(states, stored_dtype, self.layers)
        # A batch of many megabytes is copied only where something is left out of it.
        is_kept = [problem is None for problem in problems]
        spread.add(states if all(is_kept) else states[is_kept])
        # The batch also holds items that were not forwarded, so the states are dealt out in order.
        values = iter(zip(stored, problems, strict=True))
        rows = []
        for prepared in self.batch:
            value, problem = (None, None) if prepared.outcome.inputs is None else next(values)
            rows.append(_row(prepared, value, problem))
        return rows


class Forward:
    """Sends batches through one backbone.

    Once a batch has been too large for the device's memory, all go in smaller parts.
    """

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
            The memory is too small for a single item.
        """
        inputs = [
            prepared.outcome.inputs for prepared in batch if prepared.outcome.inputs is not None
        ]
        parts: list[Launched] = []
        # Parts of a batch and not smaller batches: the plan, which every shard shares, stays.
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
                remedy="Free memory or give another --device, then run the same command: "
                "it continues from here",
            ) from error
        self.part_size = (len(part) + 1) // 2
        note(
            f"{modality}: no memory for {len(part)} items at once; "
            f"continuing with {self.part_size}, in the same batches"
        )


def _row(
    prepared: Prepared, row: npt.NDArray[Any] | None = None, problem: str | None = None
) -> ItemRow:
    outcome = prepared.outcome
    item_id, digest = prepared.finding.medium.item_id, prepared.finding.digest
    status, reason = outcome.status, outcome.reason
    if problem is not None:
        status, reason = ItemStatus.QUARANTINED, f"bad-value: {problem}"
    if status is ItemStatus.QUARANTINED and digest is not None:
        reason = with_reader(reason)
    return ItemRow(item_id, digest, status, reason, None if problem is not None else row)
