"""The activation between the two linear maps of an adapter or a feed-forward net."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

__all__ = ["Activation", "activate", "activation_backward"]

Activation = Literal["gelu", "relu"]
"""The paper names none. GELU is our choice; IISAN's code runs with ReLU."""


def activate(values: Tensor, activation: Activation) -> Tensor:
    """Return the exact GELU (by erf) or the ReLU of values of any shape."""
    return F.gelu(values) if activation == "gelu" else F.relu(values)


def activation_backward(grad: Tensor, values: Tensor, activation: Activation) -> Tensor:
    """Return the gradient of `activate`'s input, of the same shape.

    Parameters
    ----------
    grad
        Gradient of the result.
    values
        The input. At 0 the derivative of ReLU is 0, as autograd has it.
    activation
        Which of the two was applied.
    """
    if activation == "gelu":
        through_gelu: Tensor = torch.ops.aten.gelu_backward(grad, values)
        return through_gelu
    through_relu: Tensor = torch.ops.aten.threshold_backward(grad, values, 0)
    return through_relu
