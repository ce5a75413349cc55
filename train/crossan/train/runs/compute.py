"""The dtype in which the side adapters compute their projections.

Where the settings leave it open, a short probe decides.
"""

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
"""Share of the time of float32 up to which the rounding of bfloat16 is worth it."""


def settle_compute(
    settings: RunSettings, folder: RunFolder, device: torch.device, *, may_resume: bool
) -> RunSettings:
    """Return the settings with ``model.compute=auto`` replaced by a dtype."""
    if settings.model.compute != "auto":
        return settings
    if may_resume and (folder.path / "config.toml").is_file():
        # A resumed run keeps its dtype, whatever a probe would say now: its numbers depend on it.
        chosen = folder.settings().model.compute
    elif not (settings.model.content and settings.model.adapters):
        # Nothing reads it, so there is nothing to probe.
        chosen = "float32"
    else:
        chosen = fastest_compute(device, settings.model.bottleneck_dim)
        note(f"model.compute=auto: {chosen} on {device}")
    return settings.model_copy(
        update={"model": settings.model.model_copy(update={"compute": chosen})}
    )


def fastest_compute(device: torch.device, bottleneck_dim: int) -> Literal["float32", "bfloat16"]:
    """Return ``"bfloat16"`` where it makes one layer clearly faster, else ``"float32"``.

    Clearly means that forward and backward take at most 0.8 of the time.
    """
    gates = CrossModalGates(1).to(device)
    adapters = SideAdapters(1, _PROBE_DIM, bottleneck_dim).to(device)
    presence = torch.ones(_PROBE_ITEMS, 1, dtype=torch.bool, device=device)
    exact = _seconds_of_layer(gates, adapters, presence, torch.float32)
    rounded = _seconds_of_layer(gates, adapters, presence, torch.bfloat16)
    return "bfloat16" if rounded <= _WORTH_IT * exact else "float32"


def _seconds_of_layer(
    gates: CrossModalGates, adapters: SideAdapters, presence: torch.Tensor, dtype: torch.dtype
) -> float:
    """Return the shortest time of a few rounds, after one to warm up."""
    states = torch.ones(len(presence), _PROBE_DIM, device=presence.device)
    parameters = [*gates.parameters(), *adapters.parameters()]
    best = float("inf")
    for round_number in range(_ROUNDS + 1):
        # A device takes work and returns at once: the clock must see when it is done.
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
