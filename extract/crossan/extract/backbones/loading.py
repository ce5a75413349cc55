"""From a checkpoint's files to a frozen model on its device."""

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
"""The attention of every transformers model."""


def load_model(family: Family, snapshot: Snapshot, source: str, dtype: str) -> nn.Module:
    """Load a checkpoint's model in evaluation mode, without gradients, on the CPU.

    Raises
    ------
    UsageError
        The weights are damaged, missing, or of another shape than the config says.
    """
    if family.load_model is not None:
        return family.load_model(snapshot.folder, DTYPES[dtype]).eval().requires_grad_(False)
    assert family.model_class is not None
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
            ignore_mismatched_sizes=True,  # so that the report names them; none is accepted
            **options,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError, StrictDataclassError) as error:
        raise UsageError(
            f"--backbone {source}: {family.model_class} could not be loaded from {snapshot.folder}: {_first_line(error)}",
            remedy=f"Run: {snapshot.download_command(force=True)}",
        ) from None
    _check_report(report, family.model_class, source)
    frozen: nn.Module = model.eval().requires_grad_(False)
    return frozen


def _check_report(report: Any, model_class: str, source: str) -> None:  # noqa: ANN401 - untyped library
    misfits = sorted(str(entry[0]) for entry in report["mismatched_keys"])
    if misfits:
        raise UsageError(
            f"--backbone {source}: {len(misfits):,} weights of the checkpoint have another shape than config.json says, "
            f"first: {misfits[0]}"
        )
    missing = sorted(report["missing_keys"])
    if missing:
        raise UsageError(
            f"--backbone {source}: {len(missing):,} weights of {model_class} are not in the checkpoint, first: {missing[0]}"
        )


def compile_blocks(blocks: Sequence[nn.Module]) -> None:
    """Compile each block's own forward, on its first call; hooks on the block stay outside of what is compiled.

    Raises
    ------
    UsageError
        There is no C++ compiler, which torch.compile calls.
    """
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise UsageError(
            f"--compile: expected a C++ compiler, found no {compiler}",
            remedy="Install g++, or leave --compile out",
        )
    for block in blocks:
        block.forward = torch.compile(block.forward)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
