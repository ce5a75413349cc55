"""A recorder for the CPU that does to a step what a CUDA graph does.

A function that is called again, as `Repeater` does, reads all of Python again. A graph does not: it
repeats the kernels with the addresses and the numbers that they had, and what recording it computed
is nothing. So this one writes down every operation of torch with its arguments, puts back whatever
they changed, spoils what they made, and repeats the operations alone.
"""

from __future__ import annotations

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from crossan.train.loop.recorder import Repeater

_ASKS = {"_local_scalar_dense", "is_nonzero"}
_DEPENDS_ON_NUMBERS = {"nonzero", "masked_select", "_unique2", "unique_dim", "repeat_interleave"}
_LEAVES_UNWRITTEN = {"empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided"}


class CannotRecordError(AssertionError):
    """The step does what a device that records cannot."""


def name_of(operation):
    return operation.overloadpacket.__name__


def require_recordable(operation, arguments):
    """Refuse operations whose result has a shape that depends on numbers, and host constants."""
    name = name_of(operation)
    by_mask = name in ("index", "index_put", "index_put_") and any(
        one is not None and one.dtype in (torch.bool, torch.uint8) for one in arguments[1]
    )
    if name in _DEPENDS_ON_NUMBERS or by_mask:
        raise CannotRecordError(f"{operation}: the shape of its result depends on numbers")
    if name == "lift_fresh":
        raise CannotRecordError(f"{operation}: makes a tensor of numbers of the host")


def tensors_of(values):
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, torch.Tensor)]


def storages_of(values):
    return {tensor.untyped_storage()._cdata: tensor for tensor in tensors_of(values)}


class _Recording(TorchDispatchMode):
    """Computes what the block does, writes it down, and keeps what it changed."""

    def __init__(self):
        super().__init__()
        self.operations, self.made, self.before = [], {}, {}

    def __torch_dispatch__(self, operation, types, arguments=(), named=None):
        named = named or {}
        require_recordable(operation, arguments)
        given = storages_of((arguments, named))
        if operation._schema.is_mutable:
            for key, tensor in given.items():
                # More than what is written may be kept, never less.
                if key not in self.made and key not in self.before:
                    self.before[key] = tensor, tensor.untyped_storage().clone()
        result = operation(*arguments, **named)
        fresh = [
            tensor for tensor in tensors_of(result) if tensor.untyped_storage()._cdata not in given
        ]
        self.made |= storages_of(fresh)
        self.operations.append((operation, arguments, named, result, fresh))
        return result

    def put_back(self):
        for tensor, storage in self.before.values():
            tensor.untyped_storage().copy_(storage)
        for tensor in self.made.values():
            if tensor.is_floating_point():
                tensor.fill_(float("nan"))


class Tape(Repeater):
    """Records operations.

    Attributes
    ----------
    recordings, replays
        How many were made, and how often one was computed again.
    """

    def __init__(self):
        self.recordings = self.replays = 0

    def record(self, step):
        self.recordings += 1
        state = torch.get_rng_state()
        with _Recording() as recording:
            step()
        with torch.no_grad():
            recording.put_back()
        torch.set_rng_state(state)

        def replay():
            self.replays += 1
            with torch.no_grad():
                for one in recording.operations:
                    _repeat(*one)

        return replay


def _repeat(operation, arguments, named, result, fresh):
    again = operation(*arguments, **named)
    if name_of(operation) in _ASKS:
        # On the CPU the towers ask whether a block lacks nothing. No device may be asked, see the
        # test of a step without numbers; the answer must at least be the recorded one.
        if again != result:
            raise CannotRecordError(f"{operation}: answered {result}, and now {again}")
        return
    if name_of(operation) in _LEAVES_UNWRITTEN:
        return
    for old, new in zip(tensors_of(result), tensors_of(again), strict=True):
        if any(old is one for one in fresh):
            old.copy_(new)
