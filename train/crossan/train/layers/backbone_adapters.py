r"""What is trained inside a backbone whose own weights stay as they are.

An adapter (Houlsby et al., 2019) ends the attention and the feed-forward net of
every block, before the residual is added,

.. math:: y = W_2 \, \sigma(W_1 x + b_1) + b_2 + x.

A low-rank pair (LoRA, Hu et al., 2021) is added to a linear layer,

.. math:: y = W x + b + \frac{\alpha}{r} B A x,

with W frozen and b, A and B trained. B begins as zeros, so the layer begins as it
was.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from torch import Tensor, nn
from torch.nn import init

from crossan.train.layers.activation import Activation, activate

__all__ = ["Bottleneck", "LowRankLinear", "replace_modules"]

_INITIAL_STD = 0.01
"""As IISAN's code draws the weights of its adapters."""


class Bottleneck(nn.Module):
    """Houlsby's adapter, with a residual of its own.

    Shapes: any ``(..., dim)`` to the same.
    """

    def __init__(self, dim: int, bottleneck_dim: int, activation: Activation) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(dim, bottleneck_dim), nn.Linear(bottleneck_dim, dim)
        self._activation = activation
        for linear in (self.down, self.up):
            init.normal_(linear.weight, std=_INITIAL_STD)
            init.zeros_(linear.bias)

    def forward(self, states: Tensor) -> Tensor:
        """Return the states with what the adapter makes of them added."""
        added: Tensor = self.up(activate(self.down(states), self._activation))
        return added + states


class LowRankLinear(nn.Module):
    """A linear layer with a low-rank pair beside its frozen weight.

    Parameters
    ----------
    linear
        The layer. Its bias, if it has one, is trained.
    rank
        Width of the pair, r.
    alpha
        Scale of the pair times its rank; 1 in IISAN's code.
    """

    def __init__(self, linear: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        self.linear, self.scaling = linear, alpha / rank
        linear.weight.requires_grad_(False)
        if linear.bias is not None:
            linear.bias.requires_grad_(True)
        weight = linear.weight
        self.down = nn.Parameter(weight.new_empty(rank, linear.in_features))
        self.up = nn.Parameter(weight.new_zeros(linear.out_features, rank))
        init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, states: Tensor) -> Tensor:
        """Return what the layer and its pair make of ``(..., dim)`` together."""
        added = (states @ self.down.T @ self.up.T) * self.scaling
        whole: Tensor = self.linear(states) + added
        return whole

    def merged(self) -> nn.Linear:
        """Return one linear layer that gives the same."""
        linear = nn.Linear(
            self.linear.in_features,
            self.linear.out_features,
            bias=self.linear.bias is not None,
            device=self.down.device,
            dtype=self.down.dtype,
        )
        linear.weight.data = (self.linear.weight + self.scaling * self.up @ self.down).detach()
        if self.linear.bias is not None:
            linear.bias.data = self.linear.bias.detach().clone()
        return linear


def replace_modules(
    root: nn.Module, names: Iterable[str], make: Callable[[nn.Module], nn.Module]
) -> None:
    """Put another module in the place of each of some modules.

    Parameters
    ----------
    root
        What holds them.
    names
        Their names within it.
    make
        From the module that is there to the one that replaces it.
    """
    for name in names:
        parent, _, child = name.rpartition(".")
        setattr(root.get_submodule(parent), child, make(root.get_submodule(name)))
