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
from crossan.common.memory import ran_out_of_memory

__all__ = ["ALONE", "RankLostError", "Ranks"]


class RankLostError(ResourceError):
    """Another rank of the training has ended or cannot be reached.

    Its own message says why.
    """


class Ranks:
    """The processes of one run, and how they communicate.

    Every method that communicates must be called by all ranks in the same order.
    With one process, each returns at once what it was given.

    Parameters
    ----------
    number, count
        Number of this process, from 0, and how many there are. Where there are
        several, torch's default process group is initialised.
    """

    def __init__(self, number: int = 0, count: int = 1) -> None:
        self.number, self.count = number, count
        self.told_to_end = threading.Event()
        """Set by a caller that cannot send this process a signal."""

    def __reduce__(self) -> tuple[type[Ranks], tuple[int, int]]:
        """Return what makes the same ranks in another process.

        The event stays behind: it is this process's own, and its lock cannot be pickled.
        """
        return Ranks, (self.number, self.count)

    @property
    def is_first(self) -> bool:
        """Whether this process writes the run folder and prints."""
        return self.number == 0

    def part(self, total: int) -> slice:
        """Return this rank's share of ``total`` things.

        All shares side by side are all things, and none is longer than another
        by more than one.
        """
        return slice(total * self.number // self.count, total * (self.number + 1) // self.count)

    def add_up(self, tensor: Tensor) -> None:
        """Replace a tensor by its sum over all ranks, which has the same bits on each of them."""
        if self.count > 1:
            with _another_may_be_lost():
                dist.all_reduce(tensor)

    def begin_to_add_up(self, tensor: Tensor) -> Callable[[], None]:
        """Begin what `add_up` does, and return what waits for it.

        Meanwhile this process computes on. On an accelerator it is the device that waits.
        """
        if self.count == 1:
            return lambda: None
        with _another_may_be_lost():
            work = dist.all_reduce(tensor, async_op=True)

        def wait() -> None:
            with _another_may_be_lost():
                work.wait()

        return wait

    def highest(self, *claims: int) -> tuple[int, ...]:
        """Return the highest claim of all ranks, for each claim."""
        if self.count == 1:
            return claims
        highest = torch.tensor(claims)
        with _another_may_be_lost():
            dist.all_reduce(highest, dist.ReduceOp.MAX)
        return tuple(highest.tolist())

    def gather(self, rows: Tensor, total: int) -> Tensor:
        """Return the rows of all ranks, ``(total, ...)``, of which this one has its `part`."""
        if self.count == 1:
            return rows
        shares = [Ranks(number, self.count).part(total) for number in range(self.count)]
        lengths = [share.stop - share.start for share in shares]
        # A collective needs the same shape from every rank.
        padded = rows.new_zeros(max(lengths), *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in shares]
        with _another_may_be_lost():
            dist.all_gather(parts, padded)
        return torch.cat([part[:length] for part, length in zip(parts, lengths, strict=True)])

    def from_first(self, make: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever JSON holds
        """Return what ``make`` returns on the first rank, the only one to call it.

        It must be a value that JSON can hold.

        Raises
        ------
        CrossanError
            On every rank, if the first raised it.
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
        """Make sure that facts, which JSON can hold, are the same on all ranks.

        Raises
        ------
        IncompatibleError
            On every rank, with all that differs from the first rank.
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
                f"the {self.count} ranks of this training are not alike,"
                f" and would not train one model\n  {listed}",
                remedy="Give every rank the same command, storage, kind of machine and libraries",
            )

    def on_this_machine(self) -> int:
        """Return how many ranks share the memory of this machine, this one included."""
        if self.count == 1:
            return 1
        name = socket.gethostname()
        return self._texts(name).count(name)

    def _texts(self, text: str) -> list[str]:
        """Return the texts of all ranks, in the order of the ranks."""
        data = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
        # As tensors and not as Python objects, which torch would pickle.
        lengths = self.gather(torch.tensor([len(data)]), self.count).tolist()
        padded = torch.zeros(1, max(lengths), dtype=torch.uint8)
        padded[0, : len(data)] = data
        texts = self.gather(padded, self.count)
        return [
            bytes(row[:length].tolist()).decode()
            for row, length in zip(texts, lengths, strict=True)
        ]


ALONE = Ranks()
"""One process that trains by itself."""


@contextmanager
def _another_may_be_lost() -> Iterator[None]:
    """Turn an error of a collective into a `RankLostError`."""
    try:
        yield
    except RuntimeError as error:
        if ran_out_of_memory(error):
            raise
        # gloo raises plain RuntimeErrors; those of torch.distributed are subclasses.
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise RankLostError(
            f"another rank of this training cannot be reached: {first_line}",
            remedy="See what the other ranks printed;"
            " the same command with --resume goes on from the last checkpoint",
        ) from error
