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
from crossan.train.loop.trainable import RefitRun, TrainableRun
from crossan.train.record.refits import is_refit
from crossan.train.runs.launch import Launch
from crossan.train.runs.opening import OpenedRun
from crossan.train.runs.peak import bytes_in_use, predict_peak
from crossan.train.runs.peak_memory import PeakMemory
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
        remedy=_Again(run, free, peak).remedy(),
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
    flags = [] if device.type == "cpu" else ["--device cpu"]
    if run.settings.model.reads_hidden_states:
        flags.insert(0, "--residence streamed" + ("" if flags else " --max-ram SIZE"))
    remedy = f"Run the same command with {', or with '.join(flags)} (crossan-train: and --resume)"
    raise ResourceError(
        _explained(shortage, device, _free_for_us(device), None), remedy=remedy if flags else None
    )


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
    free: int
    peak: PeakMemory | None

    def remedy(self) -> str | None:
        """Return the sentence that says it, None where nothing is left to lower.

        Where features live changes no number, so that the run can go on. Every setting makes
        another run.
        """
        ways, limit, lower = [], self._limit(), self._lower()
        if limit is not None:
            folder = shlex.quote(str(self.run.folder.path))
            run = f"--config {folder}/config.toml --out {folder} --resume"
            ways.append(f"go on with crossan-train {run} {limit}")
        if lower:
            ways.append("begin another run with " + " ".join(f"--set {each}" for each in lower))
        sentence = ", or ".join(ways)
        return sentence[:1].upper() + sentence[1:] or None

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
        settings, peak, less = self.run.settings, self.peak, []
        model = settings.model
        if model.is_trained_by_steps and settings.batch_size > 1:
            less.append(f"batch_size={settings.batch_size // 2}")
        if isinstance(model, AdapterSettings):
            if model.compute == "float32":
                less.append("model.compute=bfloat16")
            # Weights and gradients are each half of the moments.
            is_mostly_weights = peak is not None and 2 * peak.optimiser > peak.step
            if is_mostly_weights and model.bottleneck_dim > 1:
                less.append(f"model.bottleneck_dim={model.bottleneck_dim // 2}")
        return less
