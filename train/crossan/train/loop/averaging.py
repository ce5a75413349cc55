"""The mean of the weights at the ends of the last epochs, which is judged instead of the latest.

Weights that go round a minimum at a high rate have a mean that lies nearer to it (stochastic
weight averaging, Izmailov et al., UAI 2018). Training itself goes on from the latest weights and
never sees the mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = ["EpochAverage", "kept_bytes"]

Weights = Mapping[str, Tensor]


def kept_bytes(model: nn.Module, epochs: int) -> int:
    """Return the bytes that the weights of the last epochs take in the memory of the host.

    While an epoch is judged there is one more: the oldest stays in case the judging is cut short.
    """
    if epochs == 1:
        return 0
    return (epochs + 1) * sum(each.nbytes for each in model.parameters() if each.requires_grad)


class EpochAverage:
    """The weights of a model at the ends of the last epochs, in the memory of the host.

    What is averaged are the parameters that are trained; everything else is the model's own.

    Parameters
    ----------
    model
        What is trained.
    epochs
        How many epochs the mean is of, at most. With 1 the model is judged as it is, and nothing
        is kept.
    """

    def __init__(self, model: nn.Module, epochs: int) -> None:
        self._epochs = epochs
        self._trained = {
            name: each for name, each in model.named_parameters() if each.requires_grad
        }
        self._ends: Sequence[Weights] = ()

    @contextmanager
    def judged(self) -> Iterator[None]:
        """Have the model hold the mean for a block, the epoch that now ends included.

        A block that an exception leaves has ended no epoch: the weights are not kept.
        """
        if self._epochs == 1:
            yield
            return
        latest = {name: each.detach().to("cpu", copy=True) for name, each in self._trained.items()}
        ends = [*self._ends, latest][-self._epochs :]
        with self._holding(ends, latest):
            yield
        self._ends = ends

    @contextmanager
    def judged_last(self) -> Iterator[None]:
        """Have the model hold for a block what was judged at the end of the epoch just done."""
        if not self._ends:
            yield
            return
        with self._holding(self._ends, self._ends[-1]):
            yield

    def go_on_from_mean(self) -> None:
        """Have the model hold what was judged last, from where on it is trained."""
        if self._ends:
            self._put_mean(self._ends)
        self.forget()

    def forget(self) -> None:
        """Forget the epochs so far, whose weights no mean may have in common with later ones."""
        self._ends = ()

    def state(self) -> dict[str, Tensor]:
        """Return what is kept as named tensors, ``<number from the oldest>.<parameter>``."""
        return {
            f"{number}.{name}": tensor
            for number, weights in enumerate(self._ends)
            for name, tensor in weights.items()
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Keep what `state` returned.

        Raises
        ------
        ValueError
            These are not weights of this model.
        """
        ends: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            number, _, parameter = name.partition(".")
            ends.setdefault(int(number), {})[parameter] = tensor
        shapes = {name: each.shape for name, each in self._trained.items()}
        for weights in ends.values():
            if {name: tensor.shape for name, tensor in weights.items()} != shapes:
                raise ValueError("the kept epochs have other weights than the model")
        if sorted(ends) != list(range(len(ends))) or len(ends) > self._epochs:
            raise ValueError(f"expected {self._epochs} epochs at most, from 0, found {list(ends)}")
        self._ends = [ends[number] for number in sorted(ends)]

    @contextmanager
    def _holding(self, ends: Sequence[Weights], latest: Weights) -> Iterator[None]:
        self._put_mean(ends)
        try:
            yield
        finally:
            self._put(latest)

    @torch.no_grad()
    def _put_mean(self, ends: Sequence[Weights]) -> None:
        # One parameter at a time: the device has room for the model and little more.
        for name, parameter in self._trained.items():
            # In place, as recorded steps read these addresses.
            parameter.copy_(_mean([weights[name] for weights in ends], parameter.device))

    @torch.no_grad()
    def _put(self, weights: Weights) -> None:
        for name, parameter in self._trained.items():
            parameter.copy_(weights[name])


def _mean(tensors: Sequence[Tensor], device: torch.device) -> Tensor:
    """Return the mean of tensors on a device, summed first to last."""
    total = tensors[0].to(device, copy=True)
    for tensor in tensors[1:]:
        total += tensor.to(device)
    return total.div_(len(tensors))
