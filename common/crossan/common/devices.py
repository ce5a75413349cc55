"""The device that ``--device`` names; imported only where torch is loaded anyway."""

from __future__ import annotations

import torch

from crossan.cache_schema.errors import UsageError
from crossan.common.memory import first_line, ran_out_of_memory

__all__ = ["pick_device"]


def pick_device(device: str) -> torch.device:
    """Return the device of this name.

    Parameters
    ----------
    device
        ``auto`` takes CUDA where this machine has it, else the CPU.

    Raises
    ------
    UsageError
        The device is not available on this machine.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        picked = torch.device(device)
        # A name can be well formed and its device absent: only using the device tells.
        torch.zeros(1, device=picked)
    except (RuntimeError, AssertionError) as error:
        if ran_out_of_memory(error):
            raise  # it is available, and full
        raise UsageError(
            f"--device {device}: not available on this machine: {first_line(error)}",
            remedy="Use --device auto or --device cpu",
        ) from None
    return picked
