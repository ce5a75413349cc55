"""What operations would allocate, counted without their arithmetic.

Tensors of floats are outlines: they have a shape, a dtype and a device, and no numbers. Those of
integers and bools are real, because indices steer what is computed, and are small. torch has fake
tensors for the same purpose, which load its compiler: two seconds of CPU time and 80 MiB.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from crossan.common.storages import StorageCount
from crossan.train.runs.result_shapes import result_on_meta

__all__ = ["Allocations"]

_COMPOSITE = torch._C.DispatchKey.CompositeImplicitAutograd


class _Outline(Tensor):
    """A tensor without numbers.

    Attributes
    ----------
    meta
        Its twin on torch's meta device, which knows the shapes of results. Twins of views share a
        storage as the tensors would.
    """

    meta: Tensor

    @staticmethod
    def __new__(cls: type[_Outline], meta: Tensor, device: torch.device) -> _Outline:
        """Return the outline of a tensor on a device."""
        outline: _Outline = Tensor._make_wrapper_subclass(
            cls,
            meta.size(),
            strides=meta.stride(),
            storage_offset=meta.storage_offset(),
            dtype=meta.dtype,
            device=device,
        )
        outline.meta = meta
        return outline

    @classmethod
    def __torch_dispatch__(  # type: ignore[override] # torch gives the arguments narrower types
        cls,
        func: OpOverload,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - never returns
        """Refuse to be computed with outside of `Allocations`."""
        del types, args, kwargs
        raise RuntimeError(f"{func}: expected a tensor with numbers, got an outline")


class Allocations(TorchDispatchMode):
    """Count the bytes of the tensors that operations of the block make, until they are released.

    Scratch memory within one operation is not seen.

    Parameters
    ----------
    granule
        Bytes that an allocation is a multiple of.

    Attributes
    ----------
    storages
        The bytes held now, and at the most.
    """

    def __init__(self, granule: int = 1) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.storages = StorageCount(granule)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # torch would load its compiler, only to keep it from compiling the method below.
        return False

    def outline(self, tensor: Tensor) -> Tensor:
        """Return an outline of a tensor that is there already, which is not counted."""
        outline = _Outline(_meta_of(tensor), tensor.device)
        self.storages.ignore(outline.meta)
        if not isinstance(tensor, torch.nn.Parameter):
            return outline
        with self:
            return torch.nn.Parameter(outline, tensor.requires_grad)

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever the operator gives
        """Run an operator, on outlines if it is given any, and count the storages that it made."""
        del types
        given = kwargs or {}
        devices: list[torch.device] = []
        _map((args, given), _Outline, lambda outline: devices.append(outline.device))
        if devices and _kind(func).is_composite:
            # torch takes it apart only where it looks for gradients; what counts are its parts.
            with self:
                return func._op_dk(_COMPOSITE, *args, **given)
        if devices or _makes_floats(func, args, given):
            return self._run_on_outlines(func, args, given, devices)
        result = func(*args, **given)
        for number in _kind(func).made:
            _map(_result(result, number), Tensor, self._count)
        return result

    def _run_on_outlines(
        self,
        func: OpOverload,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        devices: Sequence[torch.device],
    ) -> Any:  # noqa: ANN401 - whatever the operator gives
        """Run an operator on the meta device, and return outlines of what it made."""
        named = kwargs.get("device")
        device = torch.device(named) if named is not None else (*devices, torch.device("cpu"))[0]
        on_meta = {**kwargs, **({} if named is None else {"device": torch.device("meta")})}
        kind = _kind(func)
        if kind.only_writes:
            results: Any = (None,) * len(kind.written) if len(kind.written) > 1 else None
        else:
            with torch.inference_mode(False):  # outlines are nobody's to compute with
                results = result_on_meta(
                    func,
                    _map(_positions_of_masks(args), Tensor, _meta_of),
                    _map(on_meta, Tensor, _meta_of),
                )

        def returned(number: int) -> Any:  # noqa: ANN401 - a tensor, a list of them, a number
            if number in kind.written:
                # What is written in place is returned itself: other names refer to it.
                where = kind.written[number]
                return args[where] if isinstance(where, int) else kwargs[where]
            outlines = _map(_result(results, number), Tensor, lambda meta: _Outline(meta, device))
            if number in kind.made:
                _map(outlines, Tensor, self._count)
            return outlines

        with torch.inference_mode(False):
            if isinstance(results, tuple):
                return tuple(returned(number) for number in range(len(results)))
            return returned(0)

    def _count(self, tensor: Tensor) -> None:
        made = tensor.meta if isinstance(tensor, _Outline) else tensor
        if made.layout != torch.strided:
            return  # it consists of tensors that were counted when they were made
        self.storages.add(made)


class _Kind:
    """What the schema of an operator says of its results.

    Attributes
    ----------
    made
        Numbers of the results that are new tensors.
    written
        By the number of a result the argument that it is, by position or by name.
    is_composite
        Whether it is made of other operators alone.
    only_writes
        Whether it makes nothing, and writes into its arguments.
    reads_tensors
        Whether an argument is a tensor, or several.
    """

    def __init__(self, func: OpOverload) -> None:
        schema = func._schema
        self.made = tuple(
            number for number, result in enumerate(schema.returns) if result.alias_info is None
        )
        self.written: dict[int, int | str] = {}
        self.only_writes = False
        self.is_composite = torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), _COMPOSITE)
        self.reads_tensors = any("Tensor" in str(each.type) for each in schema.arguments)
        for number, result in enumerate(schema.returns):
            for position, argument in enumerate(schema.arguments):
                info = argument.alias_info
                if info is None or not info.is_write or result.alias_info is None:
                    continue
                if info.before_set == result.alias_info.before_set:
                    self.written[number] = argument.name if argument.kwarg_only else position
        self.only_writes = schema.is_mutable and len(self.written) == len(schema.returns)


@cache
def _kind(func: OpOverload) -> _Kind:
    return _Kind(func)


def _makes_floats(func: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether an operator makes a tensor of floats of nothing, as `torch.zeros` does."""
    kind = _kind(func)
    if kind.reads_tensors or not kind.made:
        return False
    dtype = kwargs.get("dtype")
    if dtype is not None:
        return bool(dtype.is_floating_point)
    name = func._schema.name.removeprefix("aten::")
    if name in {"randint", "randperm", "tril_indices", "triu_indices"}:
        return False
    if name in {"arange", "full"}:
        # Their numbers say what they make: the bounds, or what fills it.
        return any(isinstance(each, float) for each in args)
    return True


def _positions_of_masks(args: Sequence[Any]) -> Sequence[Any]:
    """Return arguments with masks as the positions where they are true.

    How many these are is no shape: the meta device would not know it.
    """
    indices = [each for each in args if isinstance(each, list | tuple)]
    masks = [
        each
        for index in indices
        for each in index
        if isinstance(each, Tensor) and each.dtype == torch.bool and not isinstance(each, _Outline)
    ]
    if not masks:
        return args

    def expanded(index: Any) -> Any:  # noqa: ANN401 - an argument of any kind
        if not isinstance(index, list | tuple):
            return index
        parts: list[Any] = []
        for each in index:
            is_mask = any(each is mask for mask in masks)
            parts += each.nonzero().unbind(dim=1) if is_mask else [each]
        return parts

    return [expanded(each) for each in args]


def _result(results: Any, number: int) -> Any:  # noqa: ANN401 - whatever an operator gives
    return results[number] if isinstance(results, tuple) else results


def _map(value: Any, kind: type, change: Callable[[Any], Any]) -> Any:  # noqa: ANN401 - any value
    """Return arguments or results with everything of a kind changed."""
    if isinstance(value, kind):
        return change(value)
    if isinstance(value, list | tuple):
        return type(value)([_map(each, kind, change) for each in value])
    if isinstance(value, dict):
        return {name: _map(each, kind, change) for name, each in value.items()}
    return value


def _meta_of(tensor: Tensor) -> Tensor:
    if isinstance(tensor, _Outline):
        return tensor.meta
    return torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device="meta")
