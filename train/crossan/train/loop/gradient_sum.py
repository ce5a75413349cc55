"""Adding up the gradients of several ranks, and the random numbers of each."""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from crossan.train.models.sequence_model import SequenceModel
from crossan.train.ranks.ranks import Ranks

__all__ = ["MESSAGE_BYTES", "GradientSum", "gradient_sum_of", "seed_step", "weights_digest"]

MESSAGE_BYTES = 8 << 20
"""Large enough that a message is not all latency: the adapters of one layer at the paper's sizes
are 13 MB. A small model sends one message, after its backward pass."""


class GradientSum:
    """Sum the gradients of all parameters and the loss over the ranks.

    The gradients of the early parameters go out in messages while the backward pass still makes
    others, all else in one message after it. Every rank sends the same messages in the same order,
    so the sums are the same bits on each of them; and what is sent, and summed in which order, does
    not depend on when a message leaves.

    Parameters
    ----------
    parameters
        All of one dtype and on one device.
    ranks
        The ranks whose gradients are summed.
    early
        Those of the parameters whose gradients every rank has only when no other communication of
        its backward pass is left. By default there is none.
    message_bytes
        A message of early gradients leaves when it is as large as this.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        ranks: Ranks,
        early: Iterable[nn.Parameter] = (),
        message_bytes: int = MESSAGE_BYTES,
    ) -> None:
        self._ranks = ranks
        messages = _messages(list(parameters), list(early), message_bytes)
        sizes = [sum(parameter.numel() for parameter in message) for message in messages]
        # One element more than there are parameters: the last is the loss.
        self._flat = messages[-1][0].new_zeros(sum(sizes) + 1)
        sizes[-1] += 1
        self._messages = [
            _Message(parameters, part)
            for parameters, part in zip(messages, self._flat.split(sizes), strict=True)
        ]
        self._waits: list[Callable[[], None]] = []
        # Without a reference to this object, which holds the parameters: that would be a circle
        # through torch, which nobody collects.
        count: Callable[[int], None] = self._on_gradient
        on_gradient = weakref.WeakMethod(count)
        for number, message in enumerate(self._messages[:-1]):
            for parameter in message.parameters:
                parameter.register_post_accumulate_grad_hook(_calling(on_gradient, number))

    def _on_gradient(self, number: int) -> None:
        """Count a gradient that is made, and send the messages that are complete by it."""
        self._messages[number].left -= 1
        # In their order, whichever is complete first: two ranks that sent the same messages in
        # another order would wait for each other.
        while not self._messages[len(self._waits)].left:
            self._send()

    @torch.no_grad()
    def _send(self, *more: Tensor) -> None:
        """Begin to sum the next message."""
        message = self._messages[len(self._waits)]
        message.fill(more)
        self._waits.append(self._ranks.begin_to_add_up(message.flat))

    @torch.no_grad()
    def __call__(self, loss: Tensor) -> Tensor:
        """Replace every ``grad`` by its sum and return the sum of the losses."""
        while len(self._waits) < len(self._messages) - 1:
            self._send()
        self._send(loss.detach().view(1))
        for wait in self._waits:
            wait()
        self._waits.clear()
        for message in self._messages:
            message.begin_anew()
        return self._flat[-1].clone()


class _Message:
    """Parameters whose gradients are summed together.

    Parameters
    ----------
    parameters
        One at least.
    flat
        What is sent, ``(numbers,)``: the gradients side by side, and what follows them.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], flat: Tensor) -> None:
        self.parameters, self.flat = parameters, flat
        sizes = [parameter.numel() for parameter in parameters]
        # Every gradient is a view into the flat sums, so nothing is copied back.
        self._views = [
            part.view_as(parameter)
            for part, parameter in zip(flat[: sum(sizes)].split(sizes), parameters, strict=True)
        ]
        self.left = len(parameters)
        """Gradients that the backward pass has not made yet."""

    def fill(self, more: Sequence[Tensor]) -> None:
        """Write all gradients, and ``more`` after them, to what is sent."""
        # A rank without a prediction reads no weight of the sequence encoder and has no gradient
        # for it. The others do, and all ranks must send the same shape.
        grads = [
            torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            for parameter in self.parameters
        ]
        torch.cat([*(grad.flatten() for grad in grads), *more], out=self.flat)
        for parameter, view in zip(self.parameters, self._views, strict=True):
            parameter.grad = view

    def begin_anew(self) -> None:
        """Expect the gradients of another step."""
        self.left = len(self.parameters)


def _messages(
    parameters: Sequence[nn.Parameter], early: Sequence[nn.Parameter], message_bytes: int
) -> list[list[nn.Parameter]]:
    """Return which parameters go together, the last message being for after the backward pass.

    A backward pass goes from the last layer to the first, and so do the messages.
    """
    early_ids = {id(parameter) for parameter in early}
    messages: list[list[nn.Parameter]] = [[]]
    for parameter in reversed(parameters):
        if id(parameter) not in early_ids:
            continue
        messages[-1].append(parameter)
        if sum(each.nbytes for each in messages[-1]) >= message_bytes:
            messages.append([])
    # What fills no message goes with the rest: that is one message less to wait for.
    complete = messages[:-1]
    sent = {id(parameter) for message in complete for parameter in message}
    rest = [parameter for parameter in parameters if id(parameter) not in sent]
    return [*complete, rest] if rest else complete


def _calling(
    on_gradient: weakref.WeakMethod[Callable[[int], None]], number: int
) -> Callable[[Tensor], None]:
    """Return a hook of a parameter that calls a method as long as its object lives."""

    def hook(_: Tensor) -> None:
        method = on_gradient()
        if method is not None:
            method(number)

    return hook


def gradient_sum_of(model: nn.Module, ranks: Ranks) -> GradientSum | None:
    """Return what adds up the gradients of a model, None where there is one rank.

    The gradient of an item's vector is complete when all ranks have sent theirs, and whatever made
    the vector gets its own only then. So no other communication of a backward pass is left.
    """
    if ranks.count == 1:
        return None
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    early = model.item_parameters() if isinstance(model, SequenceModel) else []
    return GradientSum(trained, ranks, early)


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
