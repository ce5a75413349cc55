"""From a checkpoint's files to a frozen model."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn

from crossan.cache_schema.errors import CrossanError, UsageError
from crossan.extract.backbones.batches import within_memory
from crossan.extract.backbones.declared_model import check_config
from crossan.extract.backbones.families import Family
from crossan.extract.backbones.library import FOREIGN_ERRORS, find_model_class, first_line
from crossan.extract.backbones.snapshot import Snapshot
from crossan.extract.backbones.weight_files import check_weights, read_headers

__all__ = ["ATTENTION", "DTYPES", "compile_blocks", "load_model", "loading_errors_of"]

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""What ``--dtype`` accepts."""

ATTENTION = "sdpa"
"""The attention implementation of every transformers model, which is part of a store's identity."""


def load_model(family: Family, snapshot: Snapshot, source: str, dtype: str) -> nn.Module:
    """Load a checkpoint's model in evaluation mode, without gradients, on the CPU.

    Parameters
    ----------
    source
        What the user gave as ``--backbone``, for messages.
    dtype
        A key of `DTYPES`.

    Raises
    ------
    UsageError
        The weights are damaged, missing, of another shape than the config says, more than
        the model takes, or not finite.
    MemoryError
        There is too little memory for them.
    """
    weights = read_headers(
        snapshot.folder, family.model_class or family.model_type, snapshot.remedy
    )
    check_config(family, snapshot, weights)
    if family.load_model is not None:
        with loading_errors_of(family, snapshot):
            return family.load_model(snapshot.folder, DTYPES[dtype]).eval().requires_grad_(False)
    assert family.model_class is not None
    check_weights(snapshot.folder, snapshot.remedy)
    # No store reads the pooler, and many checkpoints come without its weights.
    options = {"add_pooling_layer": False} if family.has_pooler else {}
    try:
        read = partial(
            find_model_class(family.model_class).from_pretrained,
            snapshot.folder,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            dtype=DTYPES[dtype],
            attn_implementation=ATTENTION,
            output_loading_info=True,
            # Not to accept any: without this transformers stops before its report can name them.
            ignore_mismatched_sizes=True,
            **options,
        )
        model, report = within_memory(read, torch.device("cpu"), "the weights")
    except FOREIGN_ERRORS as error:
        raise UsageError(
            f"--backbone {source}: {family.model_class} could not be loaded"
            f" from {snapshot.folder}: {first_line(error)}",
            remedy=snapshot.remedy,
        ) from None
    _check_report(report, family, model, source)
    _check_finite(model, snapshot, dtype)
    frozen: nn.Module = model.eval().requires_grad_(False)
    return frozen


@contextmanager
def loading_errors_of(family: Family, snapshot: Snapshot) -> Iterator[None]:
    """Say of a plug-in's own loading which family and folder its error is about.

    Raises
    ------
    UsageError
        The block raised what a damaged checkpoint makes a plug-in raise.
    """
    try:
        yield
    except CrossanError:
        raise
    except FOREIGN_ERRORS as error:
        raise UsageError(
            f"family {family.model_type} could not load {snapshot.folder}: {first_line(error)}",
            remedy=snapshot.remedy,
        ) from error


def _check_report(
    report: Any,  # noqa: ANN401 - untyped
    family: Family,
    model: Any,  # noqa: ANN401 - untyped
    source: str,
) -> None:
    # transformers fills such weights with random numbers and only warns: features would be noise.
    misfits = sorted(str(entry[0]) for entry in report["mismatched_keys"])
    if misfits:
        raise UsageError(
            f"--backbone {source}: {len(misfits):,} weights of the checkpoint "
            f"have another shape than config.json says, first: {misfits[0]}"
        )
    missing = sorted(report["missing_keys"])
    if missing:
        raise UsageError(
            f"--backbone {source}: {len(missing):,} weights of {family.model_class} "
            f"are not in the checkpoint, first: {missing[0]}"
        )
    # It leaves out what it does not know as quietly: such a model was another one.
    strange = [name for name in sorted(report["unexpected_keys"]) if _is_read(name, family, model)]
    if strange:
        raise UsageError(
            f"--backbone {source}: {len(strange):,} weights of the checkpoint are no part of "
            f"{family.model_class} and of no head that it can do without, first: {strange[0]}",
            remedy="A family that reads them: docs/howto/bring-your-own-backbone.md",
        )


def _is_read(name: str, family: Family, model: nn.Module) -> bool:
    """Return whether the hidden states of the whole checkpoint would depend on this weight."""
    name = name.removeprefix(f"{model.base_model_prefix}.")
    if family.heads is None:
        return name.partition(".")[0] in dict(model.named_children())
    return not any(name == head or name.startswith(f"{head}.") for head in family.heads)


def _check_finite(model: nn.Module, snapshot: Snapshot, dtype: str) -> None:
    for name, parameter in model.named_parameters():
        # A sum shows NaN and infinity in a quarter of the time, and without a copy; that it is
        # finite settles it, that it is not can be an overflow.
        if parameter.sum(dtype=torch.float32).isfinite() or parameter.isfinite().all():
            continue
        raise UsageError(
            f"{snapshot.folder}: expected finite weights, "
            f"found NaN or infinity in {name} as {dtype}",
            remedy=snapshot.remedy if dtype == "float32" else "Try --dtype float32",
        )


def compile_blocks(blocks: Sequence[nn.Module]) -> None:
    """Compile the forward of each block.

    The work is done on a block's first call.

    Raises
    ------
    UsageError
        The machine lacks a C++ compiler, which torch.compile calls.
    """
    # torch.compile would fail late, inside the first batch, with pages of its own traceback.
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise UsageError(
            f"--compile: expected a C++ compiler, found no {compiler}",
            remedy="Install g++, or leave --compile out",
        )
    for block in blocks:
        # The method, not the module: hooks that pool the hidden states stay outside the compiled
        # code, where their Python may run and end the forward.
        block.forward = torch.compile(block.forward)
