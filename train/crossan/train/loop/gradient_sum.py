"""Adding up the gradients of several ranks, and the random numbers of each."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from crossan.train.ranks.ranks import Ranks

__all__ = ["GradientSum", "seed_step", "weights_digest"]


class GradientSum:
    """Sum the gradients of all parameters and the loss over the ranks, in one message.

    Parameters
    ----------
    parameters
        All of one dtype and on one device.
    ranks
        The ranks whose gradients are summed.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], ranks: Ranks) -> None:
        self._parameters, self._ranks = list(parameters), ranks
        sizes = [parameter.numel() for parameter in self._parameters]
        # One element more than there are parameters: the last is the loss.
        self._flat = self._parameters[0].new_zeros(sum(sizes) + 1)
        # Every gradient is a view into the flat sums, so nothing is copied back.
        self._views = [
            part.view_as(parameter)
            for part, parameter in zip(self._flat[:-1].split(sizes), self._parameters, strict=True)
        ]

    @torch.no_grad()
    def __call__(self, loss: Tensor) -> Tensor:
        """Replace every ``grad`` by its sum and return the sum of the losses."""
        # A rank without a prediction reads no weight of the sequence encoder and has no gradient
        # for it. The others do, and all ranks must send the same shape.
        grads = [
            torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            for parameter in self._parameters
        ]
        torch.cat([*(grad.flatten() for grad in grads), loss.detach().view(1)], out=self._flat)
        self._ranks.add_up(self._flat)
        for parameter, view in zip(self._parameters, self._views, strict=True):
            parameter.grad = view
        return self._flat[-1].clone()


def seed_step(ranks: Ranks, seed: int, epoch: int, step: int) -> None:
    """Seed torch for the dropout of one step of one rank.

    What it draws follows from these four numbers, so no checkpoint has to hold
    it. Each rank draws for itself: with dropout, a curve equals that of one
    process in distribution only. With the same number of ranks it repeats bit
    for bit.
    """
    words = np.random.SeedSequence([seed, epoch, step, ranks.number]).generate_state(1, np.uint64)
    # torch takes a signed number of 64 bits.
    torch.manual_seed(int(words[0] >> np.uint64(1)))


def weights_digest(model: nn.Module) -> str:
    """Return the sha256 of all weights."""
    digest = hashlib.sha256()
    for tensor in model.state_dict().values():
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()
