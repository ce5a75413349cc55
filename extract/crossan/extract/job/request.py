"""What the user asked of a job, read from text once, at the door."""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass, field
from pathlib import Path

from crossan.cache_schema.errors import UsageError
from crossan.cache_schema.modality import Modality
from crossan.extract.job.plan import Shard

__all__ = ["JobRequest", "backbone_source", "parse_choice", "parse_modalities", "parse_share"]

_ALL = "all"
_DEFAULT_BATCH_SIZE = {Modality.TEXT: 64, Modality.IMAGE: 32, Modality.VIDEO: 8, Modality.AUDIO: 16}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """One job: everything but the modality."""

    dataset: Path
    cache: Path
    backbone: str | None = None
    revision: str | None = None
    layers: str = "half"
    pooling: str | None = None
    shard: Shard = field(default_factory=Shard)
    batch_size: int | None = None
    """Items per forward; None takes 64 titles, 32 images, 16 sounds or 8 videos, the same on every machine."""
    num_workers: int = 2
    """Threads that decode ahead; 0 decodes between forwards."""
    device: str = "auto"
    dtype: str = "float32"
    stored_dtype: str = "float16"
    codec: str = "raw"
    limit: int | None = None
    """At most so many items are done, None for all."""
    is_repair: bool = False
    """Mend a damaged store first."""
    reuse: str | None = None
    """Store or cache elsewhere whose rows are taken where fingerprint and content digest agree."""

    def batch_size_for(self, modality: Modality) -> int:
        """Return the batch size asked for, or the modality's own."""
        return self.batch_size or _DEFAULT_BATCH_SIZE[modality]


def parse_modalities(text: str) -> tuple[Modality, ...]:
    """Read ``"text,image"`` or ``"all"``; the result is in the fixed order, without repeats.

    Raises
    ------
    UsageError
        A name that is none of the four.
    """
    if text.strip() == _ALL:
        return tuple(Modality)
    known = [modality.value for modality in Modality]
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, [*known, _ALL], n=1)
            hint = f"; did you mean '{close[0]}'?" if close else ""
            raise UsageError(f"--modality {text}: expected {', '.join(known)} or all, got '{name}'{hint}")
    return tuple(modality for modality in Modality if modality.value in names)


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


def parse_choice(text: str, flag: str, choices: tuple[str, ...]) -> str:
    """Return ``text`` if it is one of ``choices``.

    Raises
    ------
    UsageError
        It is not.
    """
    if text not in choices:
        close = difflib.get_close_matches(text, choices, n=1)
        hint = f"; did you mean '{close[0]}'?" if close else ""
        raise UsageError(f"{flag} {text}: expected one of {', '.join(choices)}{hint}")
    return text


def backbone_source(backbone: str | None, modality: Modality, asked: tuple[Modality, ...]) -> str | None:
    """Return where one modality's backbone is loaded from.

    A folder without a ``config.json`` that has a subfolder named after the
    modality stands for that subfolder: what ``crossan backbones init-tiny`` writes.

    Raises
    ------
    UsageError
        One backbone is named for several modalities.
    """
    if backbone is None:
        return None
    folder = Path(backbone)
    if not (folder / "config.json").exists() and (folder / modality.value).is_dir():
        return str(folder / modality.value)
    if len(asked) > 1:
        names = ", ".join(modality.value for modality in asked)
        raise UsageError(
            f"--backbone {backbone}: one backbone cannot serve {names}, there is no folder {folder / modality.value}",
            remedy="Name a folder with a subfolder per modality, or extract one modality at a time.",
        )
    return backbone
