"""The tensors in a file that ``torch.save`` wrote, read without unpickling: no code in the file can run."""

from __future__ import annotations

import io
import math
import pickletools
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from crossan.cache_schema.errors import DataError

__all__ = ["read_tensors"]

_MOST_BYTES = 64 * 2**20
_MOST_OPCODES = 100_000
_STORAGES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "BFloat16Storage": "<u2",
}
_MARK = object()


@dataclass(frozen=True, slots=True)
class _Global:
    name: str


@dataclass(frozen=True, slots=True)
class _Storage:
    kind: str
    key: str
    count: int


def read_tensors(path: Path) -> Any:  # noqa: ANN401 - a tensor, or lists, tuples and dicts of them
    """Read a tensor, or nested lists, tuples and dicts of tensors, as NumPy arrays; bfloat16 as float32.

    The pickle inside is interpreted symbolically on a stack that knows the few
    opcodes and names that torch writes for tensors of floats, and nothing else.

    Parameters
    ----------
    path
        Zip archive of ``torch.save``, at most 64 MiB of values.

    Raises
    ------
    DataError
        Anything else. Names the file, and what was found in it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _Reader(path, archive).read()
    except (
        zipfile.BadZipFile,
        OSError,
        EOFError,
        NotImplementedError,
        RuntimeError,
        ValueError,
    ) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{path}: expected a zip archive written by torch.save, found {error}"
        ) from error


class _Reader:
    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self._path, self._archive = path, archive
        self._entries = {entry.filename: entry for entry in archive.infolist()}
        found = [
            name for name in self._entries if name.count("/") == 1 and name.endswith("/data.pkl")
        ]
        if len(found) != 1:
            raise self._refused(f"{len(found)} entries named data.pkl")
        self._root = found[0].removesuffix("data.pkl")
        order = f"{self._root}byteorder"
        if order in self._entries and self._bytes(order) != b"little":
            raise self._refused("values that are not little-endian")

    def read(self) -> Any:  # noqa: ANN401
        stack: list[Any] = []
        memo: dict[int, Any] = {}
        data = self._bytes(f"{self._root}data.pkl")
        for count, (opcode, argument, _) in enumerate(pickletools.genops(io.BytesIO(data))):
            if count > _MOST_OPCODES:
                raise self._refused(f"more than {_MOST_OPCODES:,} pickle opcodes")
            if opcode.name == "STOP":
                return (
                    self._plain(stack.pop())
                    if len(stack) == 1
                    else self._fail("a pickle that does not end")
                )
            try:
                self._step(opcode.name, argument, stack, memo)
            except (IndexError, KeyError, TypeError) as error:
                raise self._refused(
                    f"a pickle that torch does not write ({opcode.name})"
                ) from error
        raise self._refused("a pickle without an end")

    def _step(self, name: str, argument: Any, stack: list[Any], memo: dict[int, Any]) -> None:  # noqa: ANN401
        if name in _CONSTANTS:
            stack.append(_CONSTANTS[name]())
        elif name in {"BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE", "SHORT_BINUNICODE"}:
            stack.append(argument)
        elif name in {"BINPUT", "LONG_BINPUT"}:
            memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in {"BINGET", "LONG_BINGET"}:
            stack.append(memo[argument])
        elif name == "GLOBAL":
            stack.append(_Global(argument))
        elif name in {"TUPLE1", "TUPLE2", "TUPLE3"}:
            size = int(name[-1])
            stack[-size:] = [tuple(stack[-size:])]
        elif name in {"TUPLE", "APPENDS", "SETITEMS"}:
            self._collect(name, stack)
        elif name in {"APPEND", "SETITEM", "REDUCE", "BINPERSID"}:
            self._apply(name, stack)
        elif name not in {"PROTO", "FRAME"}:
            raise self._refused(f"the pickle opcode {name}")

    def _collect(self, name: str, stack: list[Any]) -> None:
        start = (
            len(stack) - 1 - next(n for n, found in enumerate(reversed(stack)) if found is _MARK)
        )
        values = stack[start + 1 :]
        del stack[start:]
        if name == "TUPLE":
            stack.append(tuple(values))
        elif name == "APPENDS" and isinstance(stack[-1], list):
            stack[-1].extend(values)
        elif name == "SETITEMS" and isinstance(stack[-1], dict):
            stack[-1].update(zip(values[::2], values[1::2], strict=True))
        else:
            raise TypeError(name)

    def _apply(self, name: str, stack: list[Any]) -> None:
        if name == "APPEND":
            value = stack.pop()
            stack[-1].append(value)
        elif name == "SETITEM":
            value, key = stack.pop(), stack.pop()
            stack[-1][key] = value
        elif name == "BINPERSID":
            stack.append(self._storage(stack.pop()))
        else:
            arguments, function = stack.pop(), stack.pop()
            stack.append(self._called(function, arguments))

    def _storage(self, given: Any) -> _Storage:  # noqa: ANN401
        word, kind, key, _, count = given
        name = kind.name.removeprefix("torch ") if isinstance(kind, _Global) else ""
        if (
            word != "storage"
            or name not in _STORAGES
            or not str(key).isdigit()
            or not isinstance(count, int)
        ):
            raise self._refused(f"a storage {given!r:.80}")
        return _Storage(_STORAGES[name], str(key), count)

    def _called(self, function: Any, arguments: Any) -> Any:  # noqa: ANN401
        name = function.name if isinstance(function, _Global) else repr(function)
        if name == "collections OrderedDict" and arguments == ():
            return {}
        if name == "torch._utils _rebuild_tensor_v2":
            storage, offset, shape, strides, *_ = arguments
            return self._tensor(storage, offset, shape, strides)
        raise self._refused(f"a call of {name!r:.80}")

    def _tensor(self, storage: Any, offset: int, shape: Any, strides: Any) -> npt.NDArray[Any]:  # noqa: ANN401
        counts = [offset, *shape, *strides]
        if (
            not isinstance(storage, _Storage)
            or len(shape) != len(strides)
            or not all(type(n) is int for n in counts)
        ):
            raise self._refused("a tensor without a storage")
        if min(counts) < 0 or (
            math.prod(shape) and offset + _last(shape, strides) >= storage.count
        ):
            raise self._refused(
                f"a tensor {tuple(shape)} beyond its storage of {storage.count:,} values"
            )
        dtype = np.dtype(storage.kind)
        if math.prod(shape) * dtype.itemsize > _MOST_BYTES:
            raise self._refused(f"a tensor {tuple(shape)} of more than {_MOST_BYTES:,} bytes")
        data = self._bytes(f"{self._root}data/{storage.key}")
        if len(data) != storage.count * dtype.itemsize:
            raise self._refused(
                f"{len(data):,} bytes where {storage.count * dtype.itemsize:,} were announced"
            )
        values = np.frombuffer(data, dtype)
        byte_strides = [stride * dtype.itemsize for stride in strides]
        view = np.lib.stride_tricks.as_strided(
            values[offset:], shape, byte_strides, writeable=False
        ).copy()
        return (view.astype(np.uint32) << 16).view(np.float32) if storage.kind == "<u2" else view

    def _bytes(self, name: str) -> bytes:
        entry = self._entries.get(name)
        if entry is None:
            raise self._refused(f"no entry {name!r:.80}")
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > _MOST_BYTES:
            raise self._refused(
                f"an entry {name!r:.80} that is packed or larger than {_MOST_BYTES:,} bytes"
            )
        return self._archive.read(entry)

    def _plain(self, value: Any) -> Any:  # noqa: ANN401
        if isinstance(value, list | tuple):
            return [self._plain(inner) for inner in value]
        if isinstance(value, dict):
            return {str(key): self._plain(inner) for key, inner in value.items()}
        return (
            value
            if isinstance(value, np.ndarray)
            else self._fail(f"{value!r:.60} where a tensor was expected")
        )

    def _fail(self, found: str) -> Any:  # noqa: ANN401
        raise self._refused(found)

    def _refused(self, found: str) -> DataError:
        return DataError(
            f"{self._path}: expected tensors of floats written by torch.save, found {found}"
        )


_CONSTANTS: dict[str, Callable[[], Any]] = {
    "MARK": lambda: _MARK,
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
}


def _last(shape: Any, strides: Any) -> int:  # noqa: ANN401
    return sum((count - 1) * stride for count, stride in zip(shape, strides, strict=True))
