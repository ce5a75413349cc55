"""What the side adapters' projections are computed in, found out by a short probe where the settings leave it open."""

from __future__ import annotations

import time
from typing import Literal

import torch

from crossan.common.console import note
from crossan.train.layers.adapter import SideAdapters
from crossan.train.layers.fused import mix_and_adapt
from crossan.train.layers.gate import CrossModalGates
from crossan.train.record.run_folder import RunFolder
from crossan.train.settings import RunSettings

__all__ = ["fastest_compute", "settle_compute"]

_PROBE_ITEMS, _PROBE_DIM, _ROUNDS = 256, 768, 3
_WORTH_IT = 0.8
"""Share of float32's time below which bfloat16's rounding is taken."""


def settle_compute(
    settings: RunSettings, folder: RunFolder, device: torch.device, *, may_resume: bool
) -> RunSettings:
    """Return the settings with ``model.compute=auto`` replaced by what it comes to.

    A run that goes on keeps what it began with, whatever a probe says now: the
    compute type is part of what fixes its numbers, and ``config.toml`` holds it.
    Without side adapters nothing reads it: float32, and no probe.
    """
    if settings.model.compute != "auto":
        return settings
    if may_resume and (folder.path / "config.toml").is_file():
        chosen = folder.settings().model.compute
    elif not (settings.model.content and settings.model.adapters):
        chosen = "float32"
    else:
        chosen = fastest_compute(device, settings.model.bottleneck_dim)
        note(f"model.compute=auto: {chosen} on {device}")
    return settings.model_copy(
        update={"model": settings.model.model_copy(update={"compute": chosen})}
    )


def fastest_compute(device: torch.device, bottleneck_dim: int) -> Literal["float32", "bfloat16"]:
    """Return ``"bfloat16"`` where one layer, forward and backward, takes at most 0.8 of the time with it."""
    gates, adapters = (
        CrossModalGates(1).to(device),
        SideAdapters(1, _PROBE_DIM, bottleneck_dim).to(device),
    )
    layer = gates, adapters, torch.ones(_PROBE_ITEMS, 1, dtype=torch.bool, device=device)
    seconds = {dtype: _seconds_of_layer(*layer, dtype) for dtype in (torch.float32, torch.bfloat16)}
    return (
        "bfloat16" if seconds[torch.bfloat16] <= _WORTH_IT * seconds[torch.float32] else "float32"
    )


def _seconds_of_layer(
    gates: CrossModalGates, adapters: SideAdapters, presence: torch.Tensor, dtype: torch.dtype
) -> float:
    """Return the best of a few rounds, after one to warm up."""
    states = torch.ones(len(presence), _PROBE_DIM, device=presence.device)
    parameters = [*gates.parameters(), *adapters.parameters()]
    best = float("inf")
    for round_number in range(_ROUNDS + 1):
        _wait_for(presence.device)
        begun = time.perf_counter()
        output = mix_and_adapt(None, [states], presence, gates, adapters, dtype)
        torch.autograd.grad(output.sum(), parameters)
        _wait_for(presence.device)
        if round_number:
            best = min(best, time.perf_counter() - begun)
    return best


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
