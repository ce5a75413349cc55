"""From a checkpoint's files to a frozen model."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import nn

from crossan.cache_schema.errors import UsageError
from crossan.extract.backbones.families import Family
from crossan.extract.backbones.library import transformers
from crossan.extract.backbones.snapshot import Snapshot

__all__ = ["ATTENTION", "DTYPES", "compile_blocks", "load_model"]

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
        The weights are damaged, missing, or of another shape than the config says.
    """
    if family.load_model is not None:
        return family.load_model(snapshot.folder, DTYPES[dtype]).eval().requires_grad_(False)
    assert family.model_class is not None
    # No store reads the pooler, and many checkpoints come without its weights.
    options = {"add_pooling_layer": False} if family.has_pooler else {}
    try:
        model, report = getattr(transformers, family.model_class).from_pretrained(
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
    except (OSError, ValueError, RuntimeError, SafetensorError, StrictDataclassError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(
            f"--backbone {source}: "
            f"{family.model_class} could not be loaded from {snapshot.folder}: {reason}",
            remedy=f"Run: {snapshot.download_command(force=True)}",
        ) from None
    _check_report(report, family.model_class, source)
    frozen: nn.Module = model.eval().requires_grad_(False)
    return frozen


def _check_report(report: Any, model_class: str, source: str) -> None:  # noqa: ANN401 - untyped
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
            f"--backbone {source}: {len(missing):,} weights of {model_class} "
            f"are not in the checkpoint, first: {missing[0]}"
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
