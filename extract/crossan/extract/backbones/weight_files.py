"""What the headers of a checkpoint's weight files say, before anything is read or built.

A `config.json` can ask for ten million layers. The headers tell how many weights
there are, so that a model is only built once it can be filled.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError, safe_open

from crossan.cache_schema.errors import UsageError
from crossan.extract.backbones.checkpoint_files import check_file, read_object
from crossan.extract.backbones.library import first_fault, first_line

__all__ = ["Weights", "check_weights", "read_headers"]

_INDEX = "model.safetensors.index.json"
_DTYPES = {"F64", "F32", "F16", "BF16", "I64", "I32", "BOOL"}
"""Types of plain weights, and of the buffers that older releases stored beside them.

Any other is a quantised weight, whose numbers mean nothing without their scales.
"""


@dataclass(frozen=True, slots=True)
class Weights:
    """The tensors of a checkpoint, by their headers alone."""

    shapes: Mapping[str, tuple[int, ...]]
    """By name."""

    @property
    def element_count(self) -> int:
        """Numbers in all tensors."""
        return sum(math.prod(shape) for shape in self.shapes.values())


class _Index(BaseModel):
    """What is read of ``model.safetensors.index.json``."""

    metadata: dict[str, Any]
    weight_map: dict[str, str]
    """File by weight."""


def check_weights(folder: Path, remedy: str) -> None:
    """Refuse an index that names files which the folder does not hold.

    Raises
    ------
    UsageError
        The index is none, or names a file that is missing or outside the folder.
    """
    index: Any = read_object(folder / _INDEX, remedy)
    # As transformers chooses: one file of weights makes the index of no interest.
    if index is None or (folder / "model.safetensors").is_file():
        return
    try:
        names = sorted(set(_Index.model_validate(index).weight_map.values()))
    except ValidationError as error:
        raise UsageError(f"{folder / _INDEX}: {first_fault(error)}", remedy=remedy) from None
    for name in names:
        # The digests of a store's identity cover the files of the folder itself.
        if PurePath(name).name != name or not name.endswith(".safetensors"):
            raise UsageError(
                f"{folder / _INDEX}: expected names of *.safetensors in this folder, found {name}"
            )
        if not check_file(folder / name, remedy):
            raise UsageError(f"{folder / name}: no such file, but {_INDEX} names it", remedy=remedy)


def read_headers(folder: Path, model: str, remedy: str) -> Weights:
    """Read the headers of all weight files in a folder.

    Parameters
    ----------
    model
        What they are the weights of, for messages.
    remedy
        The command that fetches the checkpoint's files again.

    Raises
    ------
    UsageError
        A file is damaged, no regular file, or holds quantised weights.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        check_file(path, remedy)
        for name, (dtype, shape) in _header_of(path, model, remedy).items():
            if dtype not in _DTYPES:
                raise UsageError(
                    f"{path}: expected weights in floating point, "
                    f"found {dtype} in {name}: a quantised checkpoint is not read"
                )
            shapes[name] = shape
    return Weights(shapes)


def _header_of(path: Path, model: str, remedy: str) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return type and shape of each tensor of one file, which safetensors checks."""
    try:
        with safe_open(path, framework="numpy") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - no dict
            return {
                name: (str(part.get_dtype()), tuple(part.get_shape()))
                for name, part in slices.items()
            }
    # OSError: a header longer than the file, or an empty file, cannot be mapped.
    except (SafetensorError, OSError) as error:
        raise UsageError(
            f"{model} could not be loaded from {path}: {first_line(error)}", remedy=remedy
        ) from None
