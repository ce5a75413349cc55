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
from crossan.train.runs.launch import Launch
from crossan.train.settings import AdapterSettings, FineTunedSettings, RunSettings

__all__ = ["fastest_compute", "settle_compute"]

Compute = Literal["float32", "bfloat16"]

_PROBE_ITEMS, _PROBE_DIM, _ROUNDS = 256, 768, 3
_WORTH_IT = 0.8
"""Share of the time of float32 up to which the rounding of bfloat16 is worth it."""


def settle_compute(
    settings: RunSettings, folder: RunFolder, device: torch.device, launch: Launch
) -> RunSettings:
    """Return the settings with ``model.compute=auto`` replaced by what a probe says.

    A run that is resumed keeps what it began with, whatever a probe says now:
    the compute type is part of what fixes its numbers, and ``config.toml`` holds
    it. Of several ranks the first probes for all.
    """
    model = settings.model
    if isinstance(model, FineTunedSettings):
        return _settle_backbones(settings, model, folder, device, launch)
    if not isinstance(model, AdapterSettings) or model.compute != "auto":
        return settings

    def settle() -> Compute:
        if launch.may_resume and folder.holds_run():
            recorded = folder.settings().model
            # Of a run of another kind the folder says nothing, and refuses to be resumed anyway.
            if isinstance(recorded, AdapterSettings) and recorded.compute != "auto":
                return recorded.compute
        fastest = fastest_compute(device, model.bottleneck_dim)
        note(f"model.compute=auto: {fastest} on {device}")
        return fastest

    compute = launch.ranks.from_first(settle)
    return settings.model_copy(update={"model": model.model_copy(update={"compute": compute})})


def _settle_backbones(
    settings: RunSettings,
    model: FineTunedSettings,
    folder: RunFolder,
    device: torch.device,
    launch: Launch,
) -> RunSettings:
    """Do the same for backbones, which are computed in bfloat16 wherever there is an accelerator."""
    if model.compute != "auto":
        return settings
    compute: Compute = "float32" if device.type == "cpu" else "bfloat16"
    if launch.may_resume and folder.holds_run():
        recorded = folder.settings().model
        if isinstance(recorded, FineTunedSettings) and recorded.compute != "auto":
            compute = recorded.compute
    return settings.model_copy(update={"model": model.model_copy(update={"compute": compute})})


def fastest_compute(device: torch.device, bottleneck_dim: int) -> Compute:
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
