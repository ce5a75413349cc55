"""How a run is started, beside what its settings say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from crossan.train.features import Placement
from crossan.train.loop.choosing import recorder_of
from crossan.train.loop.recorder import Recorder
from crossan.train.options.training import LogName
from crossan.train.ranks.ranks import ALONE, Ranks

__all__ = ["Launch"]


@dataclass(frozen=True, slots=True)
class Launch:
    """Where and by whom a run is trained, whatever its settings are."""

    device: str = "auto"
    """Where to compute: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ..."""

    placement: Placement = Placement()  # noqa: RUF009 - frozen
    """Where the hidden states live; no number depends on it."""

    ranks: Ranks = ALONE
    """The processes that train it together."""

    predicts_memory: bool = False
    """Whether the peak of memory is predicted on the CPU too; on an accelerator it always is."""

    may_resume: bool = False
    """Whether a run that lies in the folder is continued."""

    may_differ: bool = False
    """Whether it may be continued on another machine class or with other libraries."""

    may_be_stale: bool = False
    """Whether items may have other contents than those that the stores were made from."""

    may_have_unread: bool = False
    """Whether it may have settings without what they need, which are then said."""

    logs: tuple[LogName, ...] = ()
    """Programs that its curves are written for, beside ``metrics.jsonl``."""

    recorder_of: Callable[[torch.device], Recorder | None] = recorder_of
    """From the device to what records its steps. No number depends on how it records them."""

    compared: Path | None = None
    """File by which a sweep tells its trials what it has compared already."""
