"""What extraction and training share: stores, datasets, settings, the console.

`open_store` and `FeatureStore` are the way to read hidden states from Python; no torch is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["FeatureStore", "open_store"]

if TYPE_CHECKING:
    from crossan.common.stores import FeatureStore, open_store


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from crossan.common import stores  # not at once: the commands' --help needs none of it

    return getattr(stores, name)
