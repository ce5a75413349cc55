"""What a caller chooses of a backbone beside its checkpoint."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Choice"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The options of one backbone, as `crossan.extract.backbones.load_backbone` takes them."""

    layers: str = "half"
    pooling: str | None = None
    max_length: int | None = None
    device: str = "auto"
    dtype: str = "float32"
    is_compiled: bool = False
