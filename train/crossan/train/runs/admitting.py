"""What keeps a run from beginning that its settings alone show."""

from __future__ import annotations

from pathlib import Path

from crossan.cache_schema.errors import UsageError
from crossan.common.console import note
from crossan.train.record.refits import is_refit, refitted_run
from crossan.train.record.run_folder import RunFolder
from crossan.train.runs.launch import Launch
from crossan.train.settings import RunSettings
from crossan.train.settings.unread import require_read, unread_settings

__all__ = ["admit"]


def admit(settings: RunSettings, folder: RunFolder, launch: Launch) -> None:
    """Refuse a run that its settings and its launch do not allow, and say what it does not read.

    Raises
    ------
    UsageError
        The settings are those of a refit, or several ranks would train what one can.
    ConfigError
        A run that has not begun has settings that nothing reads, which are refused.
    """
    _require_no_refit(settings, folder.path)
    _require_one_process(settings, launch)
    if not folder.holds_run():
        _settle_unread(settings, launch)


def _settle_unread(settings: RunSettings, launch: Launch) -> None:
    """Refuse settings that nothing of a run reads, or say which they are."""
    if not launch.may_have_unread:
        require_read(settings)
    if launch.ranks.is_first:
        for unread in unread_settings(settings):
            note(str(unread))


def _require_no_refit(settings: RunSettings, out: Path) -> None:
    """Refuse settings of a refit, which is made only beside a run that judges it."""
    if is_refit(settings):
        # The folder of a refit is made by its run; any other is that of a run to be.
        run = refitted_run(out)
        of_run = f"--out {out} --set refit=none" if run is None else f"--out {run} --resume"
        raise UsageError(
            f"refit: expected none in the settings of a run, got {settings.refit}: a refit is made"
            " inside the folder of the run that judges it",
            remedy=f"crossan-train {of_run} --refit {settings.refit}",
        )


def _require_one_process(settings: RunSettings, launch: Launch) -> None:
    """Refuse several ranks where only one process can train."""
    count = launch.ranks.count
    if count == 1:
        return
    remedy = "Train it without torchrun or --engine ray"
    if settings.reference:
        raise UsageError("--reference: the plain step is one process's", remedy=remedy)
    if not settings.model.is_trained_by_steps:
        raise UsageError(
            f"--model {settings.model.kind}: expected one process, got {count} ranks", remedy=remedy
        )
    if settings.objective.kind != "in-batch":
        raise UsageError(
            f"objective.kind: expected in-batch with {count} ranks, got {settings.objective.kind}",
            remedy=remedy,
        )
