"""Find a checkpoint, check it, load it, and try it once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch

from crossan.cache_schema.errors import ResourceError, UsageError
from crossan.cache_schema.modality import Modality
from crossan.common.devices import pick_device
from crossan.extract.backbones.backbone import Backbone
from crossan.extract.backbones.batches import within_memory
from crossan.extract.backbones.capture import blocks_of
from crossan.extract.backbones.choice import Choice
from crossan.extract.backbones.families import Family
from crossan.extract.backbones.layers import parse_layers
from crossan.extract.backbones.loading import DTYPES, load_model
from crossan.extract.backbones.plugins import family_of
from crossan.extract.backbones.presets import default_preset, resolve
from crossan.extract.backbones.processing import load_processing
from crossan.extract.backbones.snapshot import Snapshot, find_snapshot
from crossan.extract.backbones.trial import try_out

__all__ = ["load_backbone", "load_snapshot"]


def load_backbone(
    modality: Modality,
    source: str | None = None,
    *,
    revision: str | None = None,
    layers: str = "half",
    pooling: str | None = None,
    max_length: int | None = None,
    device: str = "auto",
    dtype: str = "float32",
    is_compiled: bool = False,
) -> Backbone:
    """Load a checkpoint from a folder or the hub.

    Code beside a checkpoint is never run, and pickled weights are never read.

    Parameters
    ----------
    modality
        What it must read.
    source
        Preset name, hub id or folder; None for the paper's backbone of the modality.
    revision
        Branch, tag or commit of a hub id; None takes a preset's pinned commit,
        or the main branch.
    layers
        ``half``, ``all`` or numbers such as ``0,2,4``.
    pooling
        How token positions become one vector; None for the family's default.
    max_length
        Most tokens of a title, special tokens included; None for as many as the
        backbone reads. Backbones of other media take no notice of it.
    device
        ``auto`` takes an accelerator where there is one.
    dtype
        Type of the computation: float32, bfloat16 or float16.
    is_compiled
        Whether the blocks go through torch.compile. The first batches then take
        long, and values differ by rounding.

    Raises
    ------
    UsageError
        The checkpoint is missing, damaged, declares what is not honoured, or does not
        fit the modality; or an option does not fit the checkpoint.
    RemoteError
        It has to be downloaded, and the hub cannot be reached.
    ResourceError
        The device has too little memory for it.
    """
    checkpoint = source or default_preset(modality).name
    snapshot = find_snapshot(*resolve(checkpoint, revision))
    choice = Choice(
        layers=layers,
        pooling=pooling,
        max_length=max_length,
        device=device,
        dtype=dtype,
        is_compiled=is_compiled,
    )
    family = family_of(snapshot.config, modality, checkpoint)
    return load_snapshot(family, snapshot, checkpoint, choice)


def load_snapshot(family: Family, snapshot: Snapshot, checkpoint: str, choice: Choice) -> Backbone:
    """Load a checkpoint whose files are there.

    Parameters
    ----------
    checkpoint
        What the user gave as ``--backbone``, for messages.

    Raises
    ------
    CrossanError
        As `load_backbone` raises.
    """
    chosen = choice.pooling or family.default_pooling
    if chosen not in family.poolings:
        raise UsageError(
            f"--pooling {chosen}: "
            f"expected one of {', '.join(family.poolings)} for {family.model_type}"
        )
    dtype = choice.dtype
    if dtype not in DTYPES:
        raise UsageError(f"--dtype {dtype}: expected one of {', '.join(DTYPES)}")
    # Before the weights are read: a wrong device should not cost the user that minute.
    torch_device = pick_device(choice.device)
    with _memory_of(torch_device, checkpoint):
        model = load_model(family, snapshot, checkpoint, dtype)
        model = within_memory(lambda: model.to(torch_device), torch_device, "the weights")
    processing = load_processing(family, snapshot, model, choice.max_length)
    kept = parse_layers(choice.layers, len(blocks_of(model, family)))
    build = partial(Backbone, family, snapshot, model, processing, pooling=chosen, dtype=dtype)
    with _memory_of(torch_device, checkpoint):
        try_out(build(layers=(0, 1)), processing, family, snapshot)
    backbone = build(layers=kept)
    if choice.is_compiled:
        backbone.compile()
    return backbone


@contextmanager
def _memory_of(device: torch.device, source: str) -> Iterator[None]:
    try:
        yield
    except MemoryError as error:
        raise ResourceError(
            f"--backbone {source}: {error}", remedy=f"Another device than {device}: --device NAME"
        ) from None
