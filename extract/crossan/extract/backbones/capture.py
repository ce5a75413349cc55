"""Pool hidden states while the forward runs.

So no full token tensor outlives its layer: memory stays near that of a plain
forward, however many layers are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn

from crossan.cache_schema.errors import UsageError
from crossan.extract.backbones.families import Family

__all__ = ["blocks_of", "pool_tokens", "pooled_states", "width_of"]

_BLOCK_PATHS = ("layers", "encoder.layer", "encoder.layers")
"""Where transformers keeps a model's blocks, by release."""


class _AllKept(Exception):  # noqa: N818 - not an error but the way out of a forward
    """The last kept hidden state has been pooled."""


def blocks_of(model: nn.Module, family: Family) -> Sequence[nn.Module]:
    """Return the Transformer blocks of a backbone, first to last.

    Raises
    ------
    UsageError
        They are not where the family says, or where transformers keeps them, or there are none.
    """
    if callable(family.blocks):
        return _some(list(family.blocks(model)), family)
    modules = dict(model.named_modules())
    paths = _BLOCK_PATHS if family.blocks is None else (family.blocks,)
    for path in paths:
        blocks = modules.get(path)
        if isinstance(blocks, nn.ModuleList | nn.Sequential):
            return _some(list(blocks), family)
    raise UsageError(
        f"family {family.model_type}: expected the blocks of {type(model).__name__} "
        f"as a ModuleList at {' or '.join(paths)}, found none",
        remedy="Set blocks in its Family: docs/howto/bring-your-own-backbone.md",
    )


def _some(blocks: list[nn.Module], family: Family) -> list[nn.Module]:
    if not blocks:
        raise UsageError(f"family {family.model_type}: expected blocks, found a model with none")
    return blocks


def width_of(model: nn.Module, family: Family) -> int:
    """Return the width of a hidden state.

    Raises
    ------
    UsageError
        The family's path leads nowhere.
    """
    try:
        return int(attrgetter(family.width)(model))
    except AttributeError as error:
        raise UsageError(
            f"family {family.model_type}: "
            f"expected the width of {type(model).__name__} at {family.width}: {error}",
            remedy="Set width in its Family: docs/howto/bring-your-own-backbone.md",
        ) from None


def pool_tokens(hidden: Tensor, family: Family, pooling: str, is_real: Tensor | None) -> Tensor:
    """Reduce one hidden state to one vector per item.

    ``cls`` is position 0; ``special`` the mean of the special tokens at the
    front (AST has two); ``mean`` the mean over patches, without special tokens,
    or over all real tokens of a text, its special ones included. Any other name
    is a pool function of the family.

    Shapes
    ------
    ``hidden``: ``(items, position, dim)``; ``is_real``: ``(items, position)``, 1
    for real tokens, None where all are; result: ``(items, dim)`` float32, or float64
    of what is float64.
    """
    dtype = torch.promote_types(hidden.dtype, torch.float32)
    if pooling in family.pool_functions:
        return family.pool_functions[pooling](hidden.to(dtype), is_real)
    if pooling == "cls":
        # A copy, for a view would keep every token of every kept layer alive.
        return hidden[:, 0].to(dtype, copy=True)
    if pooling == "special":
        return hidden[:, : family.special_count].to(dtype).mean(dim=1)
    if is_real is None:
        return hidden[:, family.special_count :].mean(dim=1, dtype=dtype)
    weight = is_real.to(dtype) / is_real.sum(dim=1, keepdim=True)  # (items, position)
    # A matrix product, which needs no weighted copy of all tokens.
    return torch.bmm(weight[:, None], hidden.to(dtype))[:, 0]


def pooled_states(
    model: nn.Module,
    blocks: Sequence[nn.Module],
    layers: Sequence[int],
    pool: Callable[[Tensor], Tensor],
    inputs: Mapping[str, Tensor],
) -> Tensor:
    """Run one forward and return the pooled states of the kept layers.

    Hidden state 0 is what the first block reads, hidden state i what block i
    gives, as in ``output_hidden_states``. The forward ends with the last kept
    layer; blocks, norm and pooler after it are not computed.

    Parameters
    ----------
    layers
        The kept layers, lowest first.
    pool
        One hidden state ``(items, position, dim)`` to ``(items, dim)``.

    Shapes
    ------
    Result: ``(items, layer, dim)``.
    """
    pooled: dict[int, Tensor] = {}
    handles = []
    for layer in layers:
        keep = partial(_keep, pooled, pool, layer, layer == layers[-1])
        # State 0 is the output of no block, so it is caught on its way into the first.
        if layer == 0:
            hook = partial(_keep_input, keep)
            handles.append(blocks[0].register_forward_pre_hook(hook, with_kwargs=True))
        else:
            handles.append(blocks[layer - 1].register_forward_hook(partial(_keep_output, keep)))
    try:
        model(**inputs)
    except _AllKept:
        return torch.stack([pooled[layer] for layer in layers], dim=1)
    finally:
        for handle in handles:
            handle.remove()
    # Only a plug-in's model that skips its own blocks gets here.
    raise AssertionError(
        f"a forward of {type(model).__name__} ended without its block {layers[-1]}"
    )


def _keep(
    pooled: dict[int, Tensor],
    pool: Callable[[Tensor], Tensor],
    layer: int,
    is_last: bool,
    hidden: Tensor,
) -> None:
    pooled[layer] = pool(hidden)
    # An exception is the one way out of a forward that is not ours; nobody reads what follows.
    if is_last:
        raise _AllKept


def _keep_input(
    keep: Callable[[Tensor], None],
    module: nn.Module,
    args: Any,  # noqa: ANN401 - whatever the block takes and gives
    kwargs: Any,  # noqa: ANN401
) -> None:
    del module
    # Blocks of transformers are called either way, by release.
    keep(args[0] if args else kwargs["hidden_states"])


def _keep_output(
    keep: Callable[[Tensor], None],
    module: nn.Module,
    args: Any,  # noqa: ANN401 - whatever the block takes and gives
    output: Any,  # noqa: ANN401
) -> None:
    del module, args
    # Some blocks return a tuple with their attention weights behind the hidden state.
    keep(output if isinstance(output, Tensor) else output[0])
