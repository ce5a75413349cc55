"""The gradients of several ranks added up, and the random numbers of each."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from crossan.train.ranks.ranks import Ranks

__all__ = ["GradientSum", "seed_step", "weights_digest"]


class GradientSum:
    """Sum the gradients of all parameters, and the loss beside them, over the ranks in one go.

    Parameters
    ----------
    parameters
        All of one dtype and on one device.
    ranks
        Who sums.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], ranks: Ranks) -> None:
        self._parameters, self._ranks = list(parameters), ranks
        sizes = [parameter.numel() for parameter in self._parameters]
        self._flat = self._parameters[0].new_zeros(sum(sizes) + 1)  # the loss stands last
        self._views = [
            part.view_as(parameter)
            for part, parameter in zip(self._flat[:-1].split(sizes), self._parameters, strict=True)
        ]

    @torch.no_grad()
    def __call__(self, loss: Tensor) -> Tensor:
        """Put the sums in the place of every ``grad`` and return the sum of the losses."""
        # Without a prediction of its own a rank reads no weight of the sequence encoder: the others do.
        grads = [
            torch.zeros_like(one) if one.grad is None else one.grad for one in self._parameters
        ]
        torch.cat([*(grad.flatten() for grad in grads), loss.detach().view(1)], out=self._flat)
        self._ranks.add_up(self._flat)
        for parameter, view in zip(self._parameters, self._views, strict=True):
            parameter.grad = view
        return self._flat[-1].clone()


def seed_step(ranks: Ranks, seed: int, epoch: int, step: int) -> None:
    """Begin a step's dropout anew: what it draws follows from these four numbers, so no checkpoint holds it.

    Each rank draws for itself, so with dropout a curve equals one process's in
    distribution only; with the same number of ranks it repeats bit for bit.
    """
    drawn = np.random.SeedSequence([seed, epoch, step, ranks.number]).generate_state(1, np.uint64)
    torch.manual_seed(int(drawn[0] >> np.uint64(1)))


def weights_digest(model: nn.Module) -> str:
    """Return the sha256 of all weights."""
    digest = hashlib.sha256()
    for tensor in model.state_dict().values():
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()
