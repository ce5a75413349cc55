"""Pooling hidden states while the forward runs, so that no full token tensor outlives its layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from crossan.extract.backbones.families import Family

__all__ = ["blocks_of", "pool_tokens", "pooled_states"]

_BLOCK_PLACES = ("layers", "encoder.layer", "encoder.layers")
"""Where transformers keeps a model's blocks, by release."""


def blocks_of(model: nn.Module) -> nn.ModuleList:
    """Return the Transformer blocks of a backbone, first to last."""
    modules = dict(model.named_modules())
    for place in _BLOCK_PLACES:
        blocks = modules.get(place)
        if isinstance(blocks, nn.ModuleList):
            return blocks
    raise AssertionError(f"{type(model).__name__} keeps its blocks in none of {_BLOCK_PLACES}")


def pool_tokens(hidden: Tensor, family: Family, pooling: str, mask: Tensor | None) -> Tensor:
    """Reduce one hidden state to one vector per item.

    ``cls`` is position 0; ``special`` the mean of the special tokens at the
    front (AST has two); ``mean`` the mean over patches, without special tokens,
    or over all real tokens of a text, its special ones included.

    Shapes
    ------
    ``hidden``: ``(items, position, dim)``; ``mask``: ``(items, position)``, 1
    for real tokens, None where all are; result: ``(items, dim)`` float32.
    """
    hidden = hidden.float()
    if pooling == "cls":
        return hidden[:, 0]
    if pooling == "special":
        return hidden[:, : family.special_count].mean(dim=1)
    if mask is None:
        return hidden[:, family.special_count :].mean(dim=1)
    weight = mask.unsqueeze(-1).float()
    return (hidden * weight).sum(dim=1) / weight.sum(dim=1)


@contextmanager
def pooled_states(
    model: nn.Module, layers: Sequence[int], pool: Callable[[Tensor], Tensor]
) -> Iterator[dict[int, Tensor]]:
    """Yield a dict that a forward inside the block fills with the pooled states of the kept layers, by number.

    Hidden state 0 is what the first block reads, hidden state i what block i
    gives: equal to ``output_hidden_states``.
    """
    found: dict[int, Tensor] = {}
    blocks = blocks_of(model)
    handles = []
    for layer in layers:
        if layer == 0:
            handles.append(blocks[0].register_forward_pre_hook(partial(_keep_input, found, pool), with_kwargs=True))
        else:
            handles.append(blocks[layer - 1].register_forward_hook(partial(_keep_output, found, pool, layer)))
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _keep_input(
    found: dict[int, Tensor],
    pool: Callable[[Tensor], Tensor],
    module: nn.Module,
    args: Any,  # noqa: ANN401 - whatever the block takes and gives
    kwargs: Any,  # noqa: ANN401
) -> None:
    del module
    found[0] = pool(args[0] if args else kwargs["hidden_states"])


def _keep_output(
    found: dict[int, Tensor],
    pool: Callable[[Tensor], Tensor],
    layer: int,
    module: nn.Module,
    args: Any,  # noqa: ANN401 - whatever the block takes and gives
    output: Any,  # noqa: ANN401
) -> None:
    del module, args
    found[layer] = pool(output if isinstance(output, torch.Tensor) else output[0])
