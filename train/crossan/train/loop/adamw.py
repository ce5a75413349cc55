r"""AdamW (Loshchilov and Hutter, 2019), as `torch.optim.AdamW` with ``fused=True`` computes it.

The step is torch's own function; only the moments are kept here, under the same names. An
optimiser object of `torch.optim` loads torch's compiler when it is made, whether or not anything is
compiled: 2.7 s of CPU time, which each training, each trial of a sweep and each rank spent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NotRequired, TypedDict

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

__all__ = ["AdamW", "Group"]

_BETAS = (0.9, 0.999)
_EPSILON = 1e-8
_MOMENTS = {"step", "exp_avg", "exp_avg_sq"}
"""What is kept of a parameter, by the names that `torch.optim` gives it."""


class Group(TypedDict):
    """Parameters of one learning rate."""

    params: Sequence[nn.Parameter]
    lr: float
    name: NotRequired[str]
    """The setting that the rate comes from."""


class AdamW:
    """Take steps down the gradients, with weight decay apart from them.

    A sparse gradient, as `torch.nn.functional.embedding` gives of some rows, moves all rows as a
    dense one would, to the bit, but the zeros of the others are not written in every step.

    Parameters
    ----------
    groups
        All parameters, each in one group.
    weight_decay
        What every weight loses in a step, as a share, times the group's rate.
    """

    def __init__(self, groups: Sequence[Group], weight_decay: float) -> None:
        self.param_groups, self._weight_decay = groups, weight_decay
        self._moments: dict[Tensor, dict[str, Tensor]] = {}
        self._zeros: dict[Tensor, Tensor] = {}
        self._rates: dict[tuple[int, torch.device], Tensor] = {}
        self._current = [group["lr"] for group in groups]

    @property
    def rates(self) -> Sequence[float]:
        """The rate of every group, at first its ``lr``.

        It is set in place, where a recorded step reads it.
        """
        return self._current

    @rates.setter
    def rates(self, rates: Sequence[float]) -> None:
        before, self._current = self._current, list(rates)
        for (number, _), rate in self._rates.items():
            if rates[number] != before[number]:
                rate.fill_(rates[number])

    @torch.no_grad()
    def forget_moments(self) -> None:
        """Set all moments to zero, in place, as recorded steps hold on to them."""
        for moments in self._moments.values():
            for tensor in moments.values():
                tensor.zero_()

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter that has a gradient.

        Nothing of the host is read once all parameters were moved, so the step can be recorded.
        """
        for number, group in enumerate(self.param_groups):
            alike: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    alike.setdefault((parameter.device, parameter.dtype), []).append(parameter)
            for (device, _), parameters in alike.items():
                self._move(parameters, self._rate_of(number, device))

    def _rate_of(self, number: int, device: torch.device) -> Tensor:
        """Return the rate of a group as a tensor, which a recorded step reads anew every time."""
        if (number, device) not in self._rates:
            # The kernel of an accelerator reads a float32. That of a CPU takes a number, which in
            # float64 is the number that was set.
            dtype = torch.float64 if device.type == "cpu" else torch.float32
            self._rates[number, device] = torch.tensor(
                self._current[number], dtype=dtype, device=device
            )
        return self._rates[number, device]

    def _move(self, parameters: list[Tensor], lr: Tensor) -> None:
        """Move parameters of one device and dtype, as the kernel takes them."""
        moments = [self._moments_of(parameter) for parameter in parameters]
        steps = [one["step"] for one in moments]
        adamw(
            parameters,
            [self._dense_gradient_of(parameter) for parameter in parameters],
            [one["exp_avg"] for one in moments],
            [one["exp_avg_sq"] for one in moments],
            [],
            steps,
            foreach=False,
            fused=True,
            amsgrad=False,
            lr=lr,
            beta1=_BETAS[0],
            beta2=_BETAS[1],
            weight_decay=self._weight_decay,
            eps=_EPSILON,
            maximize=False,
        )
        for parameter in parameters:
            self._forget_rows(parameter)

    def _dense_gradient_of(self, parameter: Tensor) -> Tensor:
        gradient = parameter.grad
        assert gradient is not None  # only those that have one are moved
        if not gradient.is_sparse:
            return gradient
        if parameter not in self._zeros:
            self._zeros[parameter] = torch.zeros_like(parameter)
        # Row after row in their order, as the dense gradient of a lookup is summed.
        rows = self._zeros[parameter]
        return rows.index_add_(0, gradient._indices()[0], gradient._values())

    def _forget_rows(self, parameter: Tensor) -> None:
        """Leave nothing but zeros where a sparse gradient was."""
        if parameter.grad is not None and parameter.grad.is_sparse:
            self._zeros[parameter].index_fill_(0, parameter.grad._indices()[0], 0.0)

    def _moments_of(self, parameter: Tensor) -> dict[str, Tensor]:
        if parameter not in self._moments:
            self._moments[parameter] = {
                "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
                "exp_avg": torch.zeros_like(parameter, memory_format=torch.preserve_format),
                "exp_avg_sq": torch.zeros_like(parameter, memory_format=torch.preserve_format),
            }
        return self._moments[parameter]

    def state_dict(self) -> dict[str, Any]:
        """Return the moments by the number of their parameter, as `torch.optim` does."""
        state = {
            number: dict(self._moments[parameter])
            for number, parameter in enumerate(self._parameters())
            if parameter in self._moments
        }
        return {"state": state, "param_groups": []}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Put the moments of `state_dict` back, on each parameter's device and in its dtype.

        Raises
        ------
        ValueError
            They are not those of these parameters.
        """
        parameters = self._parameters()
        moments_of: dict[Tensor, dict[str, Tensor]] = {}
        for number, moments in state_dict["state"].items():
            if not 0 <= number < len(parameters) or set(moments) != _MOMENTS:
                raise ValueError(f"no parameter {number} of {len(parameters)} with {set(moments)}")
            parameter = parameters[number]
            moments_of[parameter] = {}
            for what, tensor in moments.items():
                count = what == "step"
                if tensor.shape != (() if count else parameter.shape):
                    raise ValueError(f"{what} of parameter {number} has shape {(*tensor.shape,)}")
                dtype = torch.float32 if count else parameter.dtype
                moments_of[parameter][what] = tensor.to(parameter.device, dtype)
        self._moments = moments_of

    def _parameters(self) -> list[nn.Parameter]:
        return [parameter for group in self.param_groups for parameter in group["params"]]
