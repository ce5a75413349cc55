"""Reading the tensors in a file that ``torch.save`` wrote, without unpickling.

No code in the file can run.
"""

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


def read_tensors(path: Path) -> Any:  # noqa: ANN401 - nested arrays
    """Read a tensor, or nested lists, tuples and dicts of tensors, as NumPy arrays.

    A bfloat16 tensor becomes float32.

    The pickle inside is interpreted symbolically on a stack that knows the few
    opcodes and names that torch writes for tensors of floats, and nothing else.

    Parameters
    ----------
    path
        Zip archive of ``torch.save``, at most 64 MiB of values.

    Raises
    ------
    DataError
        Anything else. The message names the file and what was found in it.
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
        pickles = [
            name for name in self._entries if name.count("/") == 1 and name.endswith("/data.pkl")
        ]
        if len(pickles) != 1:
            raise self._refused(f"{len(pickles)} entries named data.pkl")
        self._root = pickles[0].removesuffix("data.pkl")
        byte_order = f"{self._root}byteorder"
        if byte_order in self._entries and self._bytes(byte_order) != b"little":
            raise self._refused("values that are not little-endian")

    def read(self) -> Any:  # noqa: ANN401
        stack: list[Any] = []
        memo: dict[int, Any] = {}
        data = self._bytes(f"{self._root}data.pkl")
        # `genops` only splits the bytes into opcodes. Nothing is imported or called for them.
        for count, (opcode, argument, _) in enumerate(pickletools.genops(io.BytesIO(data))):
            if count > _MOST_OPCODES:
                raise self._refused(f"more than {_MOST_OPCODES:,} pickle opcodes")
            if opcode.name == "STOP":
                if len(stack) != 1:
                    raise self._refused("a pickle that does not end")
                return self._plain(stack.pop())
            try:
                self._step(opcode.name, argument, stack, memo)
            # An operand is missing or of another kind: nothing on the stack, no mark, no list.
            except (AttributeError, IndexError, KeyError, StopIteration, TypeError) as error:
                raise self._refused(
                    f"a pickle that torch does not write ({opcode.name})"
                ) from error
        raise self._refused("a pickle without an end")

    def _step(
        self,
        name: str,
        argument: Any,  # noqa: ANN401 - what the opcode carries
        stack: list[Any],
        memo: dict[int, Any],
    ) -> None:
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
        # The innermost mark bounds the values: lists and dicts may be nested.
        distance = next(n for n, value in enumerate(reversed(stack)) if value is _MARK)
        start = len(stack) - 1 - distance
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

    def _storage(self, persistent_id: Any) -> _Storage:  # noqa: ANN401
        word, kind, key, _, count = persistent_id
        name = kind.name.removeprefix("torch ") if isinstance(kind, _Global) else ""
        if (
            word != "storage"
            or name not in _STORAGES
            or not str(key).isdigit()
            or not isinstance(count, int)
        ):
            raise self._refused(f"a storage {persistent_id!r:.80}")
        return _Storage(_STORAGES[name], str(key), count)

    def _called(self, function: Any, arguments: Any) -> Any:  # noqa: ANN401
        name = function.name if isinstance(function, _Global) else repr(function)
        if name == "collections OrderedDict" and arguments == ():
            return {}
        if name == "torch._utils _rebuild_tensor_v2":
            storage, offset, shape, strides, *_ = arguments
            return self._tensor(storage, offset, shape, strides)
        # Only these two names are known. Whatever else a file would have called ends here.
        raise self._refused(f"a call of {name!r:.80}")

    def _tensor(
        self,
        storage: Any,  # noqa: ANN401 - whatever the pickle holds, checked here
        offset: int,
        shape: Any,  # noqa: ANN401
        strides: Any,  # noqa: ANN401
    ) -> npt.NDArray[Any]:
        counts = [offset, *shape, *strides]
        if (
            not isinstance(storage, _Storage)
            or len(shape) != len(strides)
            or not all(type(n) is int for n in counts)
        ):
            raise self._refused("a tensor without a storage")
        # as_strided below checks nothing, so the last value has to lie inside the storage.
        if min(counts) < 0 or (
            math.prod(shape) and offset + _last(shape, strides) >= storage.count
        ):
            raise self._refused(
                f"a tensor {tuple(shape)} beyond its storage of {storage.count:,} values"
            )
        dtype = np.dtype(storage.kind)
        # Strides of zero let a few bytes stand for a huge tensor, so its own size is bounded too.
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
        if storage.kind == "<u2":
            # bfloat16 is the upper half of a float32.
            return (view.astype(np.uint32) << 16).view(np.float32)
        return view

    def _bytes(self, name: str) -> bytes:
        entry = self._entries.get(name)
        if entry is None:
            raise self._refused(f"no entry {name!r:.80}")
        # torch does not pack. A packed entry may unpack to far more than the file's size.
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
        if not isinstance(value, np.ndarray):
            raise self._refused(f"{value!r:.60} where a tensor was expected")
        return value

    def _refused(self, content: str) -> DataError:
        return DataError(
            f"{self._path}: expected tensors of floats written by torch.save, found {content}"
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
    """Return how many values behind the first one the last value of a tensor lies."""
    return sum((count - 1) * stride for count, stride in zip(shape, strides, strict=True))
