"""The run folder of every rank but the first, which reads it and never writes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crossan.common.stores import FeatureStore
from crossan.train.ranks.ranks import Ranks
from crossan.train.record.checkpoint import Checkpoint
from crossan.train.record.run_folder import RunFolder
from crossan.train.record.spec import Spec
from crossan.train.settings import RunSettings
from crossan.train.settings.tower import Tower

__all__ = ["FollowedRun", "run_folder_of"]


def run_folder_of(ranks: Ranks, path: Path) -> RunFolder:
    """Return the run folder that this rank uses."""
    return RunFolder(path) if ranks.is_first else FollowedRun(path)


class FollowedRun(RunFolder):
    """A run folder that the first rank writes.

    Every method that would write does nothing.
    """

    def begin(
        self, settings: RunSettings, spec: Spec, *, may_resume: bool, may_differ: bool = False
    ) -> None:
        """Leave it to the first rank, whose errors `Ranks.from_first` raises on all."""

    def hold(self, settings: RunSettings) -> None:
        """Leave it to the first rank."""

    def release(self, owner: str | None = None) -> None:
        """Leave it to the first rank."""

    def lock_stores(
        self, entries: Mapping[str, Mapping[str, Any]], stores: Mapping[Tower, FeatureStore]
    ) -> None:
        """Leave it to the first rank."""

    def append_metrics(self, line: Mapping[str, Any]) -> None:
        """Leave it to the first rank."""

    def forget_figures(self) -> None:
        """Leave it to the first rank."""

    def save_checkpoint(self, name: str, checkpoint: Checkpoint) -> None:
        """Leave it to the first rank."""

    def keep_epoch(self, epoch: int, checkpoint: Checkpoint, count: int) -> None:
        """Leave it to the first rank."""

    def _write(self, name: str, text: str) -> None:
        """Leave it to the first rank."""
