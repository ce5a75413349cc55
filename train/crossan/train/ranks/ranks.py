"""The processes that train one run together, and what passes between them."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from crossan.cache_schema.errors import CrossanError, IncompatibleError, ResourceError
from crossan.common.cluster import Failure

__all__ = ["ALONE", "RankLostError", "Ranks"]


class RankLostError(ResourceError):
    """Another rank of the training has ended or cannot be reached: its message tells why."""


class Ranks:
    """The processes of one run, this one's number among them, and what they say to each other.

    Every method that communicates is called by all ranks in the same order.
    With one process each returns at once what it was given.

    Parameters
    ----------
    number, count
        This process, from 0, and how many there are; torch's default process
        group is initialised where there are several.
    """

    def __init__(self, number: int = 0, count: int = 1) -> None:
        self.number, self.count = number, count
        self.told_to_end = threading.Event()
        """Set by whoever cannot send this process a signal."""

    @property
    def is_first(self) -> bool:
        """Whether this process writes the run folder and speaks."""
        return self.number == 0

    def part(self, total: int) -> slice:
        """Return this rank's share of ``total`` things: all shares side by side are all things, none more than one longer."""
        return slice(total * self.number // self.count, total * (self.number + 1) // self.count)

    def add_up(self, tensor: Tensor) -> None:
        """Put the sum over all ranks in a tensor's place; the same bits on every rank."""
        if self.count > 1:
            with _another_may_be_lost():
                dist.all_reduce(tensor)

    def highest(self, *claims: int) -> tuple[int, ...]:
        """Return the highest of every rank's claims, place by place."""
        if self.count == 1:
            return claims
        agreed = torch.tensor(claims)
        with _another_may_be_lost():
            dist.all_reduce(agreed, dist.ReduceOp.MAX)
        return tuple(agreed.tolist())

    def gather(self, own: Tensor, total: int) -> Tensor:
        """Return the rows of all ranks, ``(total, ...)``; ``own`` are the `part` of this one."""
        if self.count == 1:
            return own
        others = [Ranks(number, self.count).part(total) for number in range(self.count)]
        lengths = [part.stop - part.start for part in others]
        padded = own.new_zeros(
            max(lengths), *own.shape[1:]
        )  # a collective wants the same shape of everybody
        padded[: len(own)] = own
        parts = [torch.empty_like(padded) for _ in others]
        with _another_may_be_lost():
            dist.all_gather(parts, padded)
        return torch.cat([part[:length] for part, length in zip(parts, lengths, strict=True)])

    def from_first(self, make: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever JSON holds
        """Return what the first rank makes, a value that JSON holds; the others make nothing.

        Raises
        ------
        CrossanError
            On every rank, where the first raised it.
        """
        if self.count == 1:
            return make()
        answer: dict[str, Any] = {}
        if self.is_first:
            try:
                answer = {"value": make()}
            except CrossanError as error:
                answer = {"failure": Failure.of(error).as_json()}
        answer = json.loads(self._texts(json.dumps(answer))[0])
        if "failure" in answer:
            raise Failure(**answer["failure"]).error()
        return answer["value"]

    def require_same(self, facts: Mapping[str, Any]) -> None:
        """Make sure that facts, values that JSON holds, are the same on all ranks.

        Raises
        ------
        IncompatibleError
            On every rank, naming what differs from the first rank's.
        """
        if self.count == 1:
            return
        first, *others = (json.loads(text) for text in self._texts(json.dumps(facts)))
        odd = [
            f"{name}: {first[name]} on rank 0, {other[name]} on rank {number}"
            for number, other in enumerate(others, 1)
            for name in first
            if other[name] != first[name]
        ]
        if odd:
            listed = "\n  ".join(odd)
            raise IncompatibleError(
                f"the {self.count} ranks of this training are not alike, and would not train one model\n  {listed}",
                remedy="Give every rank the same command, storage, kind of machine and libraries",
            )

    def on_this_machine(self) -> int:
        """Return how many ranks there are here, this one among them: they share its memory."""
        return (
            1 if self.count == 1 else self._texts(socket.gethostname()).count(socket.gethostname())
        )

    def _texts(self, own: str) -> list[str]:
        """Return the texts of all ranks, in their order."""
        data = torch.frombuffer(bytearray(own.encode()), dtype=torch.uint8)
        lengths = self.gather(torch.tensor([len(data)]), self.count).tolist()
        padded = torch.zeros(1, max(lengths), dtype=torch.uint8)
        padded[0, : len(data)] = data
        texts = self.gather(padded, self.count)
        return [
            bytes(text[:length].tolist()).decode()
            for text, length in zip(texts, lengths, strict=True)
        ]


ALONE = Ranks()
"""One process that trains by itself."""


@contextmanager
def _another_may_be_lost() -> Iterator[None]:
    """Turn what torch raises from a collective, a plain `RuntimeError` of gloo's among it, into our error."""
    try:
        yield
    except RuntimeError as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise RankLostError(
            f"another rank of this training cannot be reached: {first}",
            remedy="See what the other ranks said; the same command with --resume goes on from the last checkpoint",
        ) from error
