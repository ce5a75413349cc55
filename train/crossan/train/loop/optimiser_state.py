"""The state of the optimiser in a checkpoint, as named tensors."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from crossan.train.loop.adamw import AdamW

__all__ = ["optimiser_tensors", "restore_optimiser"]


def optimiser_tensors(optimiser: AdamW) -> dict[str, Tensor]:
    """Return the optimiser's state as named tensors, ``<parameter number>.<what>``."""
    state = optimiser.state_dict()["state"]
    return {
        f"{number}.{what}": tensor
        for number, values in state.items()
        for what, tensor in values.items()
    }


def restore_optimiser(optimiser: AdamW, tensors: Mapping[str, Tensor]) -> None:
    """Put the named tensors of `optimiser_tensors` back into an optimiser."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        number, _, what = name.partition(".")
        state.setdefault(int(number), {})[what] = tensor
    # A checkpoint holds the state alone: learning rates and the like come from the settings.
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": state, "param_groups": groups})
