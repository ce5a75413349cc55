"""What is said where memory runs out: what was being done, what was predicted, and what lowers it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from crossan.cache_schema.errors import ResourceError
from crossan.common.console import note
from crossan.common.memory import (
    MemoryRanOutError,
    available_ram,
    naming_shortage,
    resident_bytes,
    show_size,
)
from crossan.train.features import Placement
from crossan.train.loop.trainable import RefitRun, TrainableRun
from crossan.train.record.refits import is_refit
from crossan.train.runs.launch import Launch
from crossan.train.runs.opening import OpenedRun
from crossan.train.runs.peak import PeakMemory, bytes_in_use, predict_peak
from crossan.train.settings import AdapterSettings

__all__ = ["evaluation_shortage_explained", "predicted", "training_shortage_explained"]

_SHARE = 0.9
"""Share of what is left that features are given: a prediction may be a tenth too low."""


def predicted(run: TrainableRun | RefitRun, launch: Launch) -> PeakMemory | None:
    """Predict the peak of a training and print it, on an accelerator or where it is asked for.

    Every training and every trial of a sweep would spend tenths of a second on it, so on the CPU
    it waits until memory has run out. None where nothing is predicted.
    """
    if not run.settings.model.is_trained_by_steps:
        return None
    if run.device.type == "cpu" and not launch.predicts_memory:
        return None
    peak = predict_peak(run, launch.ranks, bytes_in_use(run.device))
    if peak is not None:
        note(f"memory: {peak.in_words()}")
    return peak


@contextmanager
def training_shortage_explained(
    run: TrainableRun | RefitRun, launch: Launch, peak: PeakMemory | None
) -> Iterator[None]:
    """Explain an error of memory in a block that trains.

    Parameters
    ----------
    run, launch
        What is trained, and how.
    peak
        What was predicted; None has it predicted where memory ran out.

    Raises
    ------
    ResourceError
        Memory ran out.
    """
    before = bytes_in_use(run.device)
    try:
        with naming_shortage("the training"):
            yield
    except MemoryRanOutError as error:
        shortage = error
    else:
        return
    if peak is None and run.settings.model.is_trained_by_steps:
        peak = predict_peak(run, launch.ranks, before)
    free = _free_for_us(run.device)
    raise ResourceError(
        _explained(shortage, run.device, free, peak),
        remedy=_Again(run, launch.placement, free, peak).remedy(),
    )


@contextmanager
def evaluation_shortage_explained(run: OpenedRun, doing: str) -> Iterator[None]:
    """Explain an error of memory in a block that uses a trained run.

    Parameters
    ----------
    run
        What is used.
    doing
        What for, for example "an evaluation".

    Raises
    ------
    ResourceError
        Memory ran out.
    """
    device = run.features.presence.device
    try:
        with naming_shortage(doing):
            yield
    except MemoryRanOutError as error:
        shortage = error
    else:
        return
    remedy = "Run the same command with --residence streamed"
    remedy += " --max-ram SIZE" if device.type == "cpu" else ", or with --device cpu"
    raise ResourceError(_explained(shortage, device, _free_for_us(device), None), remedy=remedy)


def _explained(
    shortage: MemoryRanOutError, device: torch.device, free: int, peak: PeakMemory | None
) -> str:
    """Return the message, of which all but the first line are details."""
    lines = [f"out of memory in {shortage.doing} on {device}: {shortage.reason}"]
    if peak is not None:
        lines.append(f"predicted: {peak.in_words()}")
    lines.append(f"free for this process: {show_size(free)}")
    return "\n  ".join(lines)


def _free_for_us(device: torch.device) -> int:
    """Return the bytes that this process has or could have."""
    if device.type == "cpu":
        return resident_bytes() + available_ram()
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device)


@dataclass(frozen=True, slots=True)
class _Again:
    """How to train with less memory."""

    run: TrainableRun | RefitRun
    placement: Placement
    free: int
    peak: PeakMemory | None

    def remedy(self) -> str:
        """Return the sentence that says it.

        Where features live changes no number, so that the run can go on. Every setting makes
        another run.
        """
        begin_anew = "begin another run with " + " ".join(f"--set {each}" for each in self._lower())
        limit = self._limit()
        if limit is None:
            return begin_anew[0].upper() + begin_anew[1:]
        folder = shlex.quote(str(self.run.folder.path))
        return (
            f"Go on with crossan-train --config {folder}/config.toml --out {folder} --resume"
            f" {limit}, or {begin_anew}"
        )

    def _limit(self) -> str | None:
        """Return the flags by which features leave enough to the rest, None where none do."""
        peak, is_on_cpu = self.peak, self.run.device.type == "cpu"
        if peak is None or is_refit(self.run.settings):
            return None
        left = int(_SHARE * (self.free - (peak.total - peak.features))) >> 20
        if not 0 < left << 20 < peak.features:
            return None  # features are not what takes the memory, or there is too little for any
        flag = f"--max-ram {left}MiB" if is_on_cpu else f"--max-device-memory {left}MiB"
        return f"--residence streamed {flag}" if is_on_cpu else f"--residence auto {flag}"

    def _lower(self) -> list[str]:
        """Return the settings that lower what is computed."""
        settings, peak = self.run.settings, self.peak
        model, less = settings.model, [f"batch_size={max(settings.batch_size // 2, 1)}"]
        if isinstance(model, AdapterSettings):
            if model.compute == "float32":
                less.append("model.compute=bfloat16")
            # Weights and gradients are each half of the moments.
            if peak is not None and 2 * peak.optimiser > peak.step:
                less.append(f"model.bottleneck_dim={max(model.bottleneck_dim // 2, 1)}")
        return less
