"""What running runs share: cores, memory and GPUs."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass

import psutil

from crossan.cache_schema.errors import UsageError
from crossan.train.service.settings import SlotSettings

__all__ = ["Slots", "Usage"]

_ALLOWED_SHARE = 0.8
"""Of this machine's memory, where the operator names no amount."""


@dataclass(frozen=True, slots=True)
class Usage:
    """How much a run needs, how much is taken, or how much there is."""

    cpus: int
    memory_gib: float
    gpus: int


class Slots:
    """Keeps what each running run has been given.

    Parameters
    ----------
    total
        What there is for all of them.
    """

    def __init__(self, total: Usage) -> None:
        self.total = total
        self._given: dict[int, tuple[Usage, tuple[int, ...]]] = {}

    @classmethod
    def of(cls, settings: SlotSettings) -> Slots:
        """Return the slots that an operator set, or those of this machine."""
        cpus, memory, gpus = settings.cpus, settings.memory_gib, settings.gpus
        if memory is None:
            memory = _ALLOWED_SHARE * psutil.virtual_memory().total / 2**30
        return cls(
            Usage(
                cpus=len(os.sched_getaffinity(0)) if cpus is None else cpus,
                memory_gib=memory,
                gpus=_gpus_of_this_machine() if gpus is None else gpus,
            )
        )

    @property
    def used(self) -> Usage:
        """What the running runs have together."""
        given = list(self._given.values())
        return Usage(
            cpus=sum(part.cpus for part, _ in given),
            memory_gib=sum(part.memory_gib for part, _ in given),
            gpus=sum(len(devices) for _, devices in given),
        )

    def refusal_of(self, part: Usage) -> str | None:
        """Return why a part would not fit even while nothing else runs, None where it would."""
        for name in ("cpus", "memory_gib", "gpus"):
            requested, total = getattr(part, name), getattr(self.total, name)
            if requested > total:
                return (
                    f"limits.{name}: expected at most {total:g}, which is all that the runs of this"
                    f" service share, found {requested:g}"
                )
        return None

    def require_room(self, part: Usage) -> None:
        """Refuse a part that would not fit even while nothing else runs.

        Raises
        ------
        UsageError
            It is more than there is.
        """
        reason = self.refusal_of(part)
        if reason is not None:
            raise UsageError(reason, remedy="Ask for less, or raise [slots] in service.toml")

    def take(self, run_id: int, part: Usage) -> tuple[int, ...] | None:
        """Give a run its part.

        Returns
        -------
        tuple of int or None
            The numbers of its GPUs; None where its part is not free.
        """
        used = self.used
        # A small surplus, since sums of decimal fractions are not exact.
        fits = (
            used.cpus + part.cpus <= self.total.cpus
            and used.memory_gib + part.memory_gib <= self.total.memory_gib + 1e-9
            and used.gpus + part.gpus <= self.total.gpus
        )
        if not fits:
            return None
        taken = {device for _, devices in self._given.values() for device in devices}
        free = [device for device in range(self.total.gpus) if device not in taken]
        devices = tuple(free[: part.gpus])
        if len(devices) < part.gpus:
            return None
        self._given[run_id] = (part, devices)
        return devices

    def keep(self, run_id: int, part: Usage, devices: tuple[int, ...]) -> None:
        """Note the part of a run that runs already, whether or not it would fit."""
        self._given[run_id] = (part, devices)

    def give_back(self, run_id: int) -> None:
        """Free a run's part, where it has one."""
        self._given.pop(run_id, None)


def _gpus_of_this_machine() -> int:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip()])
    try:
        listed = subprocess.run(
            ["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=False, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return len([line for line in listed.stdout.splitlines() if line.startswith("GPU ")])
