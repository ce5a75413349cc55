"""How a step is taken: forward, backward and optimiser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from torch import Tensor, nn

from crossan.train.features import ItemInputs
from crossan.train.loop.adamw import AdamW
from crossan.train.loop.gradient_sum import GradientSum
from crossan.train.objectives import Objective
from crossan.train.objectives.step import Prepared

__all__ = ["EagerSteps", "StepRunner"]


class StepRunner(Protocol):
    """Takes the steps of a training, one after the other."""

    def prepare(self, batch: Tensor) -> Any:  # noqa: ANN401 - only `take` reads it
        """Do what can be done for the step of a batch before the step before it is taken.

        Another thread than the one that takes steps calls this.
        """

    def take(self, prepared: Any) -> Tensor:  # noqa: ANN401 - as `prepare` returned it
        """Take the step, and return its loss without waiting for it.

        The loss is on the device; the next step may write over it.
        """


class EagerSteps:
    """Take each step in the shapes that its batch happens to have.

    Parameters
    ----------
    model, objective, features, optimiser
        What is trained, how, on what, and by which rule.
    sum_gradients
        What adds up the gradients of several ranks, None for one.
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        features: ItemInputs,
        optimiser: AdamW,
        sum_gradients: GradientSum | None = None,
    ) -> None:
        self._model, self._objective, self._features = model, objective, features
        self._optimiser, self._sum_gradients = optimiser, sum_gradients

    def prepare(self, batch: Tensor) -> Prepared:
        """Prepare the loss of a batch."""
        return self._objective.prepare(self._features, batch)

    def take(self, prepared: Callable[[nn.Module], Tensor]) -> Tensor:
        """Take the step down the gradient of a loss."""
        loss = prepared(self._model)
        self._optimiser.zero_grad()
        loss.backward()
        if self._sum_gradients is not None:
            loss = self._sum_gradients(loss)
        self._optimiser.step()
        return loss.detach()
