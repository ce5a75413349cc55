"""Read what the user asks of a job from the text of its options."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from crossan.cache_schema.errors import UsageError
from crossan.cache_schema.modality import Modality
from crossan.common.memory import parse_size
from crossan.extract.backbones.checkpoint_files import check_folder
from crossan.extract.job.plan import Shard
from crossan.extract.workers import Limits

__all__ = [
    "JobRequest",
    "backbone_source",
    "decoded_together",
    "parse_batch_size",
    "parse_limits",
    "parse_share",
]

_MOST_WORKERS = 16
_WALL_PER_COMPUTING = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """All that one job is to do, but for its modality."""

    dataset: Path
    cache: Path
    backbone: str | None = None
    revision: str | None = None
    layers: str = "half"
    pooling: str | None = None
    max_length: int | None = None
    """Most tokens of a title, None for as many as the backbone reads; of no use to other media."""
    shard: Shard = field(default_factory=Shard)
    batch_size: int | None = None
    """Items per forward.

    None takes the one recorded with the store, else 16 titles, 8 images, 8 videos or 4 sounds.
    """
    is_batch_size_automatic: bool = False
    """Whether to try batch sizes where none is recorded or given; always so on an accelerator."""
    num_workers: int | None = None
    """Processes that decode ahead, 0 to decode between forwards.

    None takes one per core, sixteen at most.
    """
    limits: Limits = field(default_factory=Limits)
    """What one item may cost a worker."""
    clips: Path | None = None
    """Folder that keeps decoded clips for the next backbone."""
    may_replace: bool = False
    """Whether most items may have other contents than those that the store was made from."""
    device: str = "auto"
    dtype: str = "float32"
    stored_dtype: str = "float16"
    codec: str = "raw"
    limit: int | None = None
    """Most items that the job does, None for all."""
    is_compiled: bool = False
    """Whether the backbone's blocks go through torch.compile."""
    is_repair: bool = False
    """Whether a damaged store is mended first."""
    reuse: str | None = None
    """Store or cache elsewhere whose rows are taken where fingerprint and content digest agree."""

    @property
    def worker_count(self) -> int:
        """Processes that decode."""
        if self.num_workers is not None:
            return self.num_workers
        # The cores that this process may use, which a batch system sets, not those of the machine.
        return min(len(os.sched_getaffinity(0)), _MOST_WORKERS)


def decoded_together(modalities: Sequence[Modality]) -> list[tuple[Modality, ...]]:
    """Group the modalities that come out of the same files.

    These are video and sound, which are decoded once for both.
    """
    both = (Modality.VIDEO, Modality.AUDIO)
    if not set(both) <= set(modalities):
        return [(modality,) for modality in modalities]
    return [*((modality,) for modality in modalities if modality not in both), both]


def parse_share(text: str, flag: str) -> float:
    """Read ``"1%"`` or ``"0.01"`` as a fraction.

    Raises
    ------
    UsageError
        Not a number between 0 and 1 (0% and 100%).
    """
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = math.nan
    if not 0 <= share <= 1:
        raise UsageError(f"{flag} {text}: expected a share such as 1% or 0.01, between 0% and 100%")
    return share


def parse_batch_size(text: str | None) -> tuple[int | None, bool]:
    """Read ``--batch-size``.

    Parameters
    ----------
    text
        A number or ``auto``; None where the option was not given.

    Returns
    -------
    tuple[int | None, bool]
        The number given, and whether one is to be found by trying.

    Raises
    ------
    UsageError
        Neither a whole number of at least 1 nor ``auto``.
    """
    if text is None or text == "auto":
        return None, text is not None
    if not re.fullmatch(r"[1-9]\d{0,5}", text, flags=re.ASCII):
        raise UsageError(f"--batch-size {text}: expected a whole number of items, or auto")
    return int(text), False


def parse_limits(seconds: float, memory: str) -> Limits:
    """Read what one item may cost, ``--item-seconds 30`` and ``--item-memory 4GiB``.

    Raises
    ------
    UsageError
        Seconds that are not above 0, or memory that is no size.
    """
    if not 0 < seconds < math.inf:
        raise UsageError(f"--item-seconds {seconds:g}: expected a number of seconds above 0")
    return Limits(
        seconds=seconds,
        # A worker that waits for a disk or for the forward uses no computing time.
        wall_seconds=_WALL_PER_COMPUTING * seconds,
        memory_bytes=parse_size(memory, "--item-memory"),
    )


def backbone_source(
    backbone: str | None, modality: Modality, modalities: tuple[Modality, ...]
) -> str | None:
    """Return the source of one modality's backbone, None for the default one.

    A folder without a ``config.json`` that has a subfolder named after the
    modality stands for that subfolder. ``crossan backbones init-tiny`` writes
    such folders.

    Parameters
    ----------
    backbone
        What the user gave as ``--backbone``.
    modality
        The one to load.
    modalities
        All that are extracted.

    Raises
    ------
    UsageError
        One backbone is named for several modalities.
    ResourceError
        The system refuses to read the folder.
    """
    if backbone is None:
        return None
    folder = Path(backbone)
    # Not Path.exists, which raises where a folder may not be looked into.
    is_checkpoint = os.path.exists(folder / "config.json")  # noqa: PTH110
    if check_folder(folder) and not is_checkpoint and check_folder(folder / modality.value):
        return str(folder / modality.value)
    if len(modalities) > 1:
        names = ", ".join(modality.value for modality in modalities)
        raise UsageError(
            f"--backbone {backbone}: one backbone cannot serve {names}, "
            f"there is no folder {folder / modality.value}",
            remedy="Name a folder with a subfolder per modality, or extract one modality at a time",
        )
    return backbone
