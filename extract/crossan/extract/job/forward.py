"""One batch of prepared items through the backbone into rows for the store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from crossan.cache_schema.errors import ResourceError
from crossan.cache_schema.modality import ItemStatus
from crossan.common.stores import ItemRow, encode_rows
from crossan.extract.job.prepare import Encoder, Prepared

__all__ = ["rows_of_batch"]


def rows_of_batch(batch: Sequence[Prepared], encoder: Encoder, stored_dtype: str) -> tuple[list[ItemRow], int]:
    """Return one `ItemRow` per prepared item, in order, and how many went through the backbone.

    An item whose features are NaN or do not fit the stored type is quarantined
    with the reason ``bad-value``; the rest of its batch is kept.
    """
    forwarded = [prepared for prepared in batch if prepared.inputs is not None]
    if not forwarded:
        return [_row(prepared) for prepared in batch], 0
    stored, problems = encode_rows(_encode(forwarded, encoder), stored_dtype, encoder.layers)
    values = iter(zip(stored, problems, strict=True))
    return [
        _row(prepared, *next(values)) if prepared.inputs is not None else _row(prepared) for prepared in batch
    ], len(forwarded)


def _encode(batch: Sequence[Prepared], encoder: Encoder) -> np.ndarray[Any, Any]:
    try:
        return encoder.encode([prepared.inputs for prepared in batch if prepared.inputs is not None])
    except MemoryError as error:  # the device's memory is the backbone's to report
        raise ResourceError(
            f"out of memory in the forward of {len(batch)} items of {encoder.modality.value}: {error}",
            remedy=f"Run the same command again with --batch-size {max(len(batch) // 2, 1)}: it goes on from here.",
        ) from error


def _row(prepared: Prepared, row: np.ndarray[Any, Any] | None = None, problem: str | None = None) -> ItemRow:
    finding = prepared.finding
    if problem is not None:
        return ItemRow(finding.medium.item_id, finding.digest, ItemStatus.QUARANTINED, f"bad-value: {problem}", None)
    return ItemRow(finding.medium.item_id, finding.digest, prepared.status, prepared.reason, row)
