"""Curves in the event files of TensorBoard, in ``logs/tensorboard`` of the run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from crossan.common.config import to_toml
from crossan.common.files import remove_durably
from crossan.common.refusals import make_folder
from crossan.train.settings import RunSettings

__all__ = ["TensorBoardLog"]


class TensorBoardLog:
    """A log that begins anew with each process, for event files cannot be cut.

    A run that was killed has taken epochs again since its last checkpoint; in the
    old files they would stand twice.

    Parameters
    ----------
    run
        The run folder.
    settings
        The run's settings, shown as a text.
    """

    def __init__(self, run: Path, settings: RunSettings) -> None:
        self.last_epoch = 0
        folder = run / "logs/tensorboard"
        make_folder(folder)
        for earlier in folder.glob("events.out.tfevents.*"):
            remove_durably(earlier)
        self._writer = SummaryWriter(str(folder))
        # Indented by four, Markdown shows it as it is.
        text = "".join(f"    {line}\n" for line in to_toml(settings).splitlines())
        self._writer.add_text("settings", text)

    def write(self, values: Mapping[str, float], epoch: int) -> None:
        """Add values at an epoch, and flush them."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    def close(self, *, is_finished: bool) -> None:  # noqa: ARG002 - event files have no state
        """Close the file."""
        self._writer.close()
