"""Read ``--layers``, the hidden states that a store keeps."""

from __future__ import annotations

from crossan.cache_schema.errors import UsageError

__all__ = ["parse_layers"]


def parse_layers(text: str, block_count: int) -> tuple[int, ...]:
    """Read ``half``, ``all`` or a list such as ``0,2,4``.

    Parameters
    ----------
    block_count
        Transformer blocks of the backbone; its hidden states are numbered 0 to ``block_count``.

    Returns
    -------
    tuple[int, ...]
        The layer numbers, lowest first.

    Raises
    ------
    UsageError
        Not numbers, repeated, or beyond the last block.
    """
    # The paper's choice: every second state, from the embedding output on.
    if text == "half":
        return tuple(range(0, block_count + 1, 2))
    if text == "all":
        return tuple(range(block_count + 1))
    try:
        layers = tuple(sorted(int(part) for part in text.split(",")))
    except ValueError:
        raise UsageError(f"--layers {text}: expected half, all or numbers such as 0,2,4") from None
    if len(set(layers)) < len(layers):
        raise UsageError(f"--layers {text}: a layer is named twice")
    if layers[0] < 0 or layers[-1] > block_count:
        raise UsageError(
            f"--layers {text}: expected numbers from 0 to {block_count}, "
            "the hidden states of this backbone"
        )
    return layers
