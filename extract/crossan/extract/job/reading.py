"""What the worker processes of a job do with a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from crossan.cache_schema.modality import Modality
from crossan.extract.job.prepare import Encoder
from crossan.extract.workers import ItemReader

if TYPE_CHECKING:
    from crossan.extract.backbones.preparing import Preparer

__all__ = ["item_reader"]


def item_reader(encoders: Sequence[Encoder], clips: Path | None) -> ItemReader:
    """Return what decodes and prepares a file for some backbones.

    Parameters
    ----------
    encoders
        One, or those of sound and video.
    clips
        Folder that keeps decoded clips, None for none.
    """
    by_modality = {encoder.modality: encoder for encoder in encoders}
    video, audio = by_modality.get(Modality.VIDEO), by_modality.get(Modality.AUDIO)
    # Titles are prepared in the job itself, which is quick enough.
    preparers: dict[Modality, Preparer] = {
        modality: encoder.preparer()
        for modality, encoder in by_modality.items()
        if modality is not Modality.TEXT
    }
    if video is None and audio is None:
        return ItemReader(preparers, None)
    from crossan.extract.media.clip import ClipReader

    reader = ClipReader(
        frame_count=None if video is None else video.frame_count,
        sampling_rate=None if audio is None else audio.sampling_rate,
        cache=clips,
    )
    return ItemReader(preparers, reader)
